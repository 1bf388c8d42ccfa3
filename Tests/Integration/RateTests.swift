// Rate-limited streams, from the side of clients and daemons.
import Foundation
import Streams
import Testing

@Suite("Rates")
struct RateTests {
  @Test(
    "an upload is limited to its rate, calls pass it, and its client gets keepalive PINGs",
    arguments: Way.allCases)
  func upload(way: Way) async throws {
    let scene = try await Scene(settings: [
      "max_upload_rate = \"50K\"", "keepalive_interval = 1", "keepalive_count = 2",
    ]) { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      let client = try broker.client(way)
      try client.wantKeepAlive()
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      let line = try backend.line(0)
      let before = line.receivedBytes
      let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: 8 << 10))
      for _ in 0..<48 { try client.send(packet) }
      // More than seven seconds of stream data are queued before these calls.
      #expect(try client.call(157).header.status == .ok)
      let other = try broker.client(way)
      try other.open()
      #expect(try other.call(157).header.status == .ok)
      #expect(line.receivedBytes - before < 48 * packet.count)
      // The reply was the last packet, and no other is due.
      _ = try client.receive("a PING", where: \.isPing)
      #expect(line.receivedBytes - before < 48 * packet.count)
      try client.send(Packets.keepAlive(KeepAliveProcedure.pong))
      #expect(
        try eventually {
          for packet in client.receiveAll(for: 0.1) where packet.isPing {
            try client.send(Packets.keepAlive(KeepAliveProcedure.pong))
          }
          return line.receivedBytes - before >= 48 * packet.count
        })
      #expect(try client.call(157).header.status == .ok, "it was not taken for dead")
    }
    try await scene.end()
  }

  @Test("an identity's own rate applies in addition to the rate for all")
  func identity() async throws {
    let scene = try await Scene(settings: [
      "max_upload_rate = \"1G\"", "identity_rates = [ \"upload 20K uid \(getuid())\" ]",
    ]) { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      var received: [Int] = []
      for way in [Way.tcp, .unix] {
        let client = try broker.client(way)
        try client.open()
        let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
        let line = try backend.line(received.count)
        let before = line.receivedBytes
        let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: 8 << 10))
        for _ in 0..<10 { try client.send(packet) }
        if way == .tcp {
          // An anonymous client is subject only to the rate for all.
          #expect(eventually { line.receivedBytes - before == 10 * packet.count })
        } else {
          #expect(try client.call(157).header.status == .ok)
          #expect(line.receivedBytes - before < 10 * packet.count)
        }
        received.append(line.receivedBytes)
      }
    }
    try await scene.end()
  }
}
