// Settings that take effect at a reload, from the side of clients and administrators.
import Foundation
import Glibc
import Streams
import Testing

@Suite("reload")
struct ReloadTests {
  /// Changes a line of the file and waits until the broker has read it.
  private func change(_ broker: BrokerProcess, _ old: String, to new: String) throws {
    let path = broker.directory + "/virtbrokerd.conf"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try #require(text.contains(old))
    try text.replacing(old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
    let key = String(old.prefix { $0 != " " })
    let before = broker.log.split(separator: "\n").count { $0.contains("changed: \(key)") }
    broker.signal(SIGHUP)
    #expect(
      eventually {
        broker.log.split(separator: "\n").count { $0.contains("changed: \(key)") } > before
      }, "\(broker.log)")
  }

  @Test(
    "a waiting administrator is admitted when a reload raises admin_max_clients, and not before")
  func administrators() async throws {
    let scene = try await Scene.holding(settings: ["admin_max_clients = 1"])
    try await blocking {
      let admin = scene.broker.admin
      let first = try admin.client()
      let second = try RawClient(unix: admin.path)
      let call = AdminCall.libraryVersion
      let header = second.header(call.procedure, program: Program.admin)
      try second.send(Packets.make(header, arguments: call.arguments))
      #expect(second.receiveAll(for: 0.2).isEmpty)
      try self.change(scene.broker, "admin_max_clients = 1", to: "admin_max_clients = 2")
      #expect(try second.receive()?.header.status == .ok)
      #expect(try first.call(call).header.status == .ok)
    }
    try await scene.end()
  }

  @Test("a reload starts and stops keepalive on admin connections")
  func administratorsKeepAlive() async throws {
    let scene = try await Scene.holding(settings: ["admin_keepalive_interval = 0"])
    try await blocking {
      let client = try scene.broker.admin.client()
      try client.send(Packets.keepAlive(KeepAliveProcedure.ping))
      let heard = client.receiveAll(for: 1.3)
      #expect(heard.count { !$0.isPong } == 0)
      try self.change(
        scene.broker, "admin_keepalive_interval = 0", to: "admin_keepalive_interval = 1")
      _ = try client.receive("a PING", where: \.isPing)
      try client.send(Packets.keepAlive(KeepAliveProcedure.pong))
      try self.change(
        scene.broker, "admin_keepalive_interval = 1", to: "admin_keepalive_interval = -1")
      _ = client.receiveAll(for: 0.1)
      #expect(client.receiveAll(for: 1.3).isEmpty)
      #expect(try client.call(AdminCall.libraryVersion).header.status == .ok)
    }
    try await scene.end()
  }

  @Test("a reload allows and forbids another host")
  func otherHosts() async throws {
    let far = try await Scene { _, _ in false }
    let host = "tcp://127.0.0.1:\(far.broker.port)"
    let (none, one) = ("upstream_allowed_hosts = [ ]", "upstream_allowed_hosts = [ \"\(host)\" ]")
    let near = try await Scene(settings: [none]) { _, _ in false }
    let uri = "qemu+\(host)/system"
    try await blocking {
      func isRefused() -> Bool {
        do { try near.broker.client().open(uri) } catch {
          return "\(error)".contains("is not allowed here")
        }
        return false
      }
      #expect(isRefused())
      try self.change(near.broker, none, to: one)
      #expect(!isRefused())
      try self.change(near.broker, one, to: none)
      #expect(isRefused())
    }
    try await near.end()
    try await far.end()
  }
}
