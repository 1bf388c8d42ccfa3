// The broker itself is killed: its clients notice, and the daemons release all resources.
import Foundation
import Streams
import Testing

@Suite("A killed broker", Lab.isPossible)
struct BrokerDeathTests {
  @Test("its clients notice at once, libvirtd releases their resources, and the next broker serves")
  func killed() async throws {
    let lab = try await Lab.shared(.mono, for: "killing brokers")
    let volume = try await TestVolume(in: lab, bytes: 64 << 20)
    let daemon = try await lab.pid(of: "libvirtd")
    let broker = try await BrokerProcess.start(in: lab)
    let before = try await blocking {
      try broker.client().open()
      return settledDescriptorCount(of: daemon)
    }
    try await blocking {
      let clients = try [Way.unix, .tcp, .unix, .tcp].map { way in
        let client = try broker.client(way)
        try client.open()
        return client
      }
      // An upload in progress, an unread download, a call without a reply yet, and an idle connection.
      let upload = try clients[0].openStream(
        Remote.storageVolUpload, pool: volume.pool, volume: volume.name)
      try clients[0].send(RawClient.packet(upload, [UInt8](repeating: 7, count: 100_000)))
      _ = try clients[1].openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      try clients[2].send(Packets.make(clients[2].header(59)))
      #expect(eventually { descriptorCount(of: daemon) > before })

      broker.signal(SIGKILL)
      for client in clients {
        let last = try client.awaitEnd(within: 5)
        #expect(last.allSatisfy { $0.error == nil }, "nothing is made up")
      }
      #expect(
        eventually { descriptorCount(of: daemon) <= before },
        "\(descriptorCount(of: daemon)) descriptors in libvirtd, \(before) before")
    }

    let next = try await BrokerProcess.start(in: lab)
    try await blocking {
      let client = try next.client(.tcp)
      try client.open()
      // The volume is free: no process has it open.
      let upload = try client.openStream(
        Remote.storageVolUpload, pool: volume.pool, volume: volume.name, length: 5)
      try client.send(RawClient.packet(upload, Array("hello".utf8)))
      #expect(try client.end(upload).header.status == .ok)
    }
    try await next.stop()
  }

  @Test("a new broker replaces the sockets that the killed one left")
  func successor() async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    broker.signal(SIGKILL)
    #expect(try await broker.awaitEnd() == 128 + SIGKILL)
    #expect(FileManager.default.fileExists(atPath: broker.directory + "/libvirt-sock"))
    let next = try Child([
      BrokerProcess.executable, "-f", broker.directory + "/virtbrokerd.conf", "-p",
      broker.directory + "/pid",
    ])
    try await blocking {
      #expect(eventually { BrokerProcess.accepts(unix: broker.directory + "/libvirt-sock") })
      let client = try broker.client()
      try client.open()
      #expect(try client.call(59).header.status == .ok)
      next.signal(SIGTERM)
      #expect(next.wait(limit: .seconds(20)) == 0)
    }
    withExtendedLifetime(scene) {}
  }
}
