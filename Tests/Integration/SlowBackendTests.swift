// A backend that does not read what a client uploads.
import Foundation
import Streams
import Testing

@Suite("A backend that stops reading")
struct SlowBackendTests {
  @Test(
    "during an upload: the client is not read, other clients are not affected, and later everything arrives",
    arguments: Way.allCases)
  func stops(way: Way) async throws {
    let buffer = 256 << 10
    // The data queued for the upstream, as much read ahead, and the pool's spare segments.
    let bound = 2 * buffer + (2 << 20)
    let scene = try await Scene(settings: ["max_client_buffer = \(buffer)"]) { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      let other = try broker.client()
      try other.open()
      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      let line = try backend.line(1)
      // The memory of an upload that is read.
      let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: Limits.usualPayload))
      for _ in 0..<16 { try client.send(packet) }
      #expect(eventually { line.receivedBytes > 16 * packet.count })
      let before = (broker.peakBytes, line.receivedBytes)
      line.isPausing = true

      // More than the kernel's buffers of both connections; TCP's are the largest.
      let count = 128
      var bytes: [UInt8] = []
      for _ in 0..<count { bytes += packet }
      var sent = 0
      #expect(
        try eventually {
          sent += try client.sendSome(bytes[sent...])
          return !client.wait(for: POLLOUT, until: Date(timeIntervalSinceNow: 0.5))
        }, "the client has to wait")
      #expect(broker.peakBytes - before.0 < bound)
      #expect(try other.call(59).header.status == .ok)
      // The client's PING after all these data is answered once they have been sent.
      line.isPausing = false
      try client.send(bytes[sent...] + Packets.keepAlive(KeepAliveProcedure.ping))
      #expect(try client.receive()?.isPong == true)
      #expect(eventually { line.receivedBytes - before.1 == bytes.count })
      #expect(broker.peakBytes - before.0 < bound)
    }
    try await scene.end()
  }
}
