// A client that stops reading what it asked for.
import Foundation
import Streams
import Testing

@Suite("A reader that stops", Lab.isPossible)
struct SlowReaderTests {
  @Test(
    "in a download of 1 GiB costs no more memory than is configured, and others are served",
    arguments: Way.allCases, [256 << 10, 4 << 20])
  func stops(way: Way, buffer: Int) async throws {
    // What may wait for each of the two clients, the reads that went beyond it, and the pool's spare segments.
    let bound = 2 * buffer + (2 << 20)
    let lab = try await Lab.shared(.mono)
    let volume = try await TestVolume(in: lab, bytes: 1 << 30)
    let broker = try await BrokerProcess.start(
      in: lab, settings: ["max_client_buffer = \(buffer)"])
    try await blocking {
      let other = try broker.client()
      try other.open()
      // One whole download has shown what a client that does read needs.
      try Self.download(volume, length: 8 << 20, on: other)
      let before = broker.peakBytes

      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      // The flow has come to rest when the broker uses no time any more.
      var used = -1.0
      #expect(
        eventually {
          usleep(300_000)
          defer { used = broker.processorSeconds }
          return broker.processorSeconds == used
        }, "a source that cannot be passed on is not read")
      #expect(broker.peakBytes - before < bound)

      for _ in 0..<3 { try Self.download(volume, length: 8 << 20, on: other) }
      #expect(try other.call(59).header.status == .ok)
      #expect(broker.peakBytes - before < bound)

      // It was not forgotten: what it reads now goes on where it stopped.
      var received = 0
      while received < 64 << 20 {
        guard let packet = try client.receive() else { throw Trouble("the connection was closed") }
        #expect(packet.header.kind == .stream && packet.header.serial == stream.serial)
        received += packet.body.count
      }
      #expect(try client.end(stream, .error).header.status == .ok, "the abort is confirmed")
      #expect(try client.call(59).header.status == .ok)
      #expect(broker.peakBytes - before < bound)
    }
    try await broker.stop()
  }

  /// Downloads the beginning of a volume to its end.
  static func download(_ volume: TestVolume, length: UInt64, on client: RawClient) throws {
    let stream = try client.openStream(
      Remote.storageVolDownload, pool: volume.pool, volume: volume.name, length: length)
    var received: UInt64 = 0
    while let packet = try client.receive() {
      guard packet.header.kind == .stream, packet.header.status == .continue else {
        throw Trouble("in the middle of a download: \(packet)")
      }
      if packet.body.isEmpty { break }
      received += UInt64(packet.body.count)
    }
    #expect(received == length)
    #expect(try client.end(stream).header.status == .ok)
  }
}
