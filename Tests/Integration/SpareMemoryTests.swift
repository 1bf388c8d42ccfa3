// The broker's memory after a burst of data.
import Foundation
import Streams
import Testing

@Suite("Memory after a burst")
struct SpareMemoryTests {
  @Test("it returns to the system once the broker is idle, also if a later client stays")
  func burst() async throws {
    let (count, buffer) = (12, 4 << 20)
    let scene = try await Scene(settings: ["max_client_buffer = \(buffer)"]) { _, _ in false }
    let (broker, backend) = (scene.broker, scene.backend)
    try await blocking {
      let (before, descriptors) = (broker.residentBytes, broker.descriptorCount)
      let lines = LineNumbers()
      var uploads: [RawClient] = []
      // The allocator treats the first burst differently from later ones.
      for _ in 0..<2 {
        for number in 0..<lines.count { try backend.line(number).isPausing = false }
        uploads = []
        #expect(eventually { settledDescriptorCount(of: broker.pid) <= descriptors })
        uploads = try (0..<count).map { _ in
          try Self.stuckUpload(to: broker, backend, lines.next())
        }
      }
      let late = try Self.stuckUpload(to: broker, backend, lines.next())
      let full = broker.residentBytes
      try #require(full - before > count * buffer / 2, "the burst was one")
      for number in 0..<2 * count { try backend.line(number).isPausing = false }
      uploads = []
      #expect(
        eventually { broker.residentBytes - before < 2 * buffer + (8 << 20) },
        """
        \(before >> 10) KiB at first, \(full >> 10) KiB with the burst, \
        \(broker.residentBytes >> 10) KiB without
        """)
      #expect(broker.isRunning && uploads.isEmpty)
      withExtendedLifetime(late) {}
    }
    try await scene.end()
  }

  /// A client that uploads until the broker stops reading.
  private static func stuckUpload(
    to broker: BrokerProcess, _ backend: ScriptedBackend, _ line: Int
  ) throws -> RawClient {
    let client = try broker.client()
    try client.open()
    let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
    try backend.line(line).isPausing = true
    let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: Limits.usualPayload))
    var sent = 0
    while client.wait(for: POLLOUT, until: Date(timeIntervalSinceNow: 0.1)) {
      sent += try client.sendSome(packet[(sent % packet.count)...])
    }
    return client
  }
}

/// The indices of a backend's connections, in their order.
private final class LineNumbers {
  private(set) var count = 0
  func next() -> Int {
    defer { count += 1 }
    return count
  }
}
