// A client that sends many more calls than it reads replies.
import Foundation
import Streams
import Testing

@Suite("Calls without reading", Lab.isPossible)
struct PipelineTests {
  /// The most that the broker may hold for one client: calls read ahead, queued replies, segments of both directions
  /// and the pool's spare ones. All 100,000 calls with their replies would be 8 MiB.
  static let bound = 3 << 20

  @Test(
    "with 100,000 calls sent before any reply is read, memory stays bounded and every reply arrives once",
    arguments: Way.allCases)
  func unread(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let other = try broker.client()
      try other.open()
      let before = broker.peakBytes

      let count = 100_000
      let first = client.header(157)
      var calls = Packets.make(first)
      for _ in 1..<count { calls += Packets.make(client.header(157)) }
      var sent = 0
      // Until the broker has read nothing for half a second.
      #expect(
        try eventually(within: 60) {
          sent += try client.sendSome(calls[sent...])
          return sent == calls.count
            || !client.wait(for: POLLOUT, until: Date(timeIntervalSinceNow: 0.5))
        })
      // TCP's buffers alone can hold all calls; those of a UNIX socket cannot.
      if way == .unix {
        #expect(sent < calls.count, "a client that does not read is not read for ever")
      }
      #expect(broker.peakBytes - before < Self.bound)
      #expect(try other.call(157).header.status == .ok, "others are served meanwhile")

      var seen = [Bool](repeating: false, count: count)
      var received = 0
      while received < count {
        if sent < calls.count { sent += try client.sendSome(calls[sent...]) }
        guard let reply = try client.receive() else { throw Trouble("closed after \(received)") }
        #expect(reply.header.kind == .reply && reply.header.status == .ok)
        let index = Int(reply.header.serial) - Int(first.serial)
        guard seen.indices.contains(index), !seen[index] else {
          throw Trouble("reply to serial \(reply.header.serial), which was not awaited")
        }
        seen[index] = true
        received += 1
      }
      #expect(broker.peakBytes - before < Self.bound)
      #expect(try client.call(157).header.status == .ok)
    }
    try await broker.stop()
  }
}
