// Packets that a backend sends without a request must not reach a client, which would close its connection.
import Foundation
import Streams
import Testing

@Suite("A backend that sends unsolicited packets")
struct UnaskedPacketTests {
  @Test(
    "replies without a call, streams that are not open and keepalive packets do not reach the client",
    arguments: Way.allCases)
  func unasked(way: Way) async throws {
    let scene = try await Scene { line, packet in
      guard packet.header.procedure == 59 else { return false }
      var unknown = packet.header
      unknown.serial += 1000
      var streamed = PacketHeader(
        procedure: Remote.storageVolDownload, kind: .stream, serial: 77, status: .continue)
      var bytes = Packets.keepAlive(KeepAliveProcedure.ping)
      bytes += Packets.reply(answering: unknown)
      bytes += RawClient.packet(streamed, [1, 2, 3])
      streamed.status = .ok
      bytes += Packets.make(streamed)
      bytes += Packets.streamError(
        program: Program.remote, procedure: Remote.storageVolDownload, serial: 77,
        RemoteError(.internalError, "not yours"))
      // The reply itself, then a second one.
      bytes += Packets.reply(answering: packet.header, GetURIResult(uri: "once"))
      bytes += Packets.reply(answering: packet.header, GetURIResult(uri: "twice"))
      try line.send(bytes)
      return true
    }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      for _ in 0..<3 {
        #expect(try client.call(59).decoded(GetURIResult.self)?.uri == "once")
        #expect(try client.call(157).header.status == .ok)
      }
      #expect(client.receiveAll(for: 0.2).isEmpty, "nothing else came")
      try backend.line(0).await("three PONGs") { $0.count { $0.isPong } == 3 }
    }
    try await scene.end()
  }

  @Test(
    "a client gets the events of its own backend connection, in their order",
    arguments: Way.allCases)
  func events(way: Way) async throws {
    let scene = try await Scene { line, packet in
      guard packet.header.procedure == 59 else { return false }
      // Before and after the reply, in the backend's order.
      try line.send(
        Packets.event(318, FeatureResult(supported: 1)) + Packets.reply(answering: packet.header)
          + Packets.event(318, FeatureResult(supported: 2)))
      return true
    }
    let broker = scene.broker
    try await blocking {
      let (client, other) = (try broker.client(way), try broker.client(way))
      for client in [client, other] { try client.open() }
      let call = client.header(59)
      try client.send(Packets.make(call))
      let packets = try (0..<3).compactMap { _ in try client.receive() }
      #expect(packets.map(\.header.kind) == [.message, .reply, .message])
      #expect(packets.compactMap { $0.decoded(FeatureResult.self)?.supported } == [1, 2])
      #expect(other.receiveAll(for: 0.2).isEmpty, "and no other")
    }
    try await scene.end()
  }
}
