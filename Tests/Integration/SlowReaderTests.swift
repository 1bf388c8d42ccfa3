// A client that stops reading a download.
import Foundation
import Streams
import Testing

@Suite("A reader that stops", Lab.isPossible)
struct SlowReaderTests {
  @Test(
    "a download of 1 GiB without a reader uses no more memory than configured, and others are served",
    arguments: Way.allCases, [256 << 10, 4 << 20])
  func stops(way: Way, buffer: Int) async throws {
    // The data queued for each of the two clients, the reads that exceeded the watermark, and the pool's spare
    // segments.
    let bound = 2 * buffer + (2 << 20)
    let lab = try await Lab.shared(.mono)
    let volume = try await TestVolume(in: lab, bytes: 1 << 30)
    let broker = try await BrokerProcess.start(
      in: lab, settings: ["max_client_buffer = \(buffer)"])
    try await blocking {
      let other = try broker.client()
      try other.open()
      // One complete download gives the memory that a reading client needs.
      try Self.download(volume, length: 8 << 20, on: other)
      let before = broker.peakBytes

      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      // The transfer has stopped when the broker uses no more processor time.
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

      // When the client reads again, the download continues.
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

  /// Downloads the given number of bytes from the beginning of a volume.
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
