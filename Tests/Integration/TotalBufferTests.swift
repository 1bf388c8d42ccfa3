// The limit on data queued for all clients of one origin together.
import Foundation
import Streams
import Testing

@Suite("max_total_buffer", .inTurn)
struct TotalBufferTests {
  @Test("clients of one address whose daemons read nothing hold at most half of it")
  func bounded() async throws {
    let total = 16 << 20
    let scene = try await Scene(settings: ["max_total_buffer = \(total)"]) { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      let root = try broker.client()
      try root.open()
      let before = broker.peakBytes
      var clients: [RawClient] = []
      for number in 1...24 {
        let client = try broker.client(.tcp)
        try client.open()
        let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
        try backend.line(number).isPausing = true
        clients.append(client)
        // Until the broker stops reading or has ended the connection.
        let packet = RawClient.packet(stream, [UInt8](repeating: 7, count: 256 << 10))
        var rest = packet[...]
        var refusals = 0
        while refusals < 4, let sent = try? client.sendSome(rest) {
          refusals = sent == 0 ? refusals + 1 : 0
          rest = rest.dropFirst(sent)
          if rest.isEmpty { rest = packet[...] }
          if sent == 0 { usleep(10_000) }
        }
      }
      #expect(eventually { broker.logs("VB-LIM-007", "max_total_buffer") }, "\(broker.log)")
      // The broker logs the end of a connection before it closes it.
      var open = clients.count
      #expect(
        eventually {
          open = clients.count { (try? $0.sendSome([0])) != nil }
          return open < clients.count
        })
      #expect(open >= 2, "the first ones stay as long as there is room")
      #expect(broker.peakBytes - before < total / 2 + (8 << 20))
      #expect(try root.call(59).header.status == .ok)
      for line in backend.lines { line.isPausing = false }
    }
    try await scene.end()
  }
}
