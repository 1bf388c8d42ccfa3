// Clients that disconnect while the broker does not read from them.
import Certificates
import Foundation
import Streams
import Testing

@Suite("A client that disconnects while it is not read", .inTurn)
struct HangUpTests {
  /// The reason in the log.
  private static let gone = "VB-CLI-005"

  /// More than the send buffer of the daemon's socket and both of the broker's watermarks together.
  private static let enough = 3 << 20

  /// The daemon's end of the connection, after the daemon has stopped reading.
  private func stuck(_ backend: ScriptedBackend, _ number: Int) throws -> Line {
    let line = try backend.line(number)
    line.isPausing = true
    return line
  }

  @Test("the broker notices it and closes its daemon's connection", arguments: Way.allCases)
  func plain(way: Way) async throws {
    let scene = try await Scene { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      let other = try broker.client()
      try other.open()
      let before = settledDescriptorCount(of: broker.pid)
      var client: RawClient? = try broker.client(way)
      try client?.open()
      guard
        let stream = try client?.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      else { return }
      let line = try stuck(backend, 1)
      let packet = RawClient.packet(stream, [UInt8](repeating: 7, count: 256 << 10))
      // More than the broker reads, and less than the kernels queue in addition: the end of a TCP connection does not
      // arrive if the client's host has unsent bytes before it.
      var rest = packet[...]
      var refusals = 0
      var total = 0
      while refusals < 10, total < Self.enough, let client {
        let sent = try client.sendSome(rest)
        total += sent
        refusals = sent == 0 ? refusals + 1 : 0
        rest = rest.dropFirst(sent)
        if rest.isEmpty { rest = packet[...] }
        if sent == 0 { usleep(50_000) }
      }
      client = nil
      #expect(eventually { broker.log.contains(Self.gone) }, "\(broker.log)")
      #expect(eventually { descriptorCount(of: broker.pid) <= before })
      #expect(try other.call(59).header.status == .ok)
      line.isPausing = false
      try line.awaitEnd()
    }
    try await scene.end()
  }

  @Test("the broker notices it over TLS")
  func tls() async throws {
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { _, _ in false }
    let tls = try await TLSBroker(backends: sockets)
    try await blocking {
      let other = try tls.broker.client()
      try other.open()
      let before = settledDescriptorCount(of: tls.broker.pid)
      let (socket, session) = try tls.client(tls.certificates.identity())
      let open = ConnectOpenArguments(name: "qemu:///system", flags: 0)
      _ = try session.exchange(Packets.make(socket.header(Remote.authList)))
      _ = try session.exchange(Packets.make(socket.header(Remote.connectOpen), open))
      var header = socket.header(Remote.storageVolUpload)
      let arguments = VolumeTransferArguments(
        pool: "p", name: "v", key: "v", offset: 0, length: 0, flags: 0)
      #expect(try session.exchange(Packets.make(header, arguments)).header.status == .ok)
      header.kind = .stream
      header.status = .continue
      let line = try stuck(backend, 1)
      let packet = RawClient.packet(header, [UInt8](repeating: 7, count: 256 << 10))
      let ended = DispatchSemaphore(value: 0)
      Thread {
        for _ in 0..<Self.enough / packet.count { try? session.send(packet) }
        ended.signal()
      }.start()
      #expect(ended.wait(timeout: .now() + 20) == .success)
      socket.vanish()
      #expect(tls.logged(Self.gone), "\(tls.broker.log)")
      #expect(eventually { descriptorCount(of: tls.broker.pid) <= before })
      line.isPausing = false
      try line.awaitEnd()
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test(
    "the kernel sends keepalive probes on TCP connections, so the broker notices a host that vanishes"
  )
  func keepAlive() async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    let client = try broker.client(.tcp)
    try client.open()
    // ss shows another timer while sent data are not acknowledged.
    let ss = Command("ss", "-tnoH", "state", "established", "sport", "=", ":\(broker.port)")
    let isAsked = try await blocking {
      eventually { (try? ss.runHere())?.output.contains("timer:(keepalive") == true }
    }
    #expect(isAsked)
    withExtendedLifetime(client) {}
    try await scene.end()
  }
}
