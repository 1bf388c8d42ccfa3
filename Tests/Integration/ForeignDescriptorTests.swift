// Descriptors from a client whose close() blocks as long as the client wants.
import Foundation
import Streams
import Testing

@Suite("A descriptor that is slow to close", .inTurn)
struct ForeignDescriptorTests {
  /// What the broker does with the descriptor.
  enum Fate: String, CaseIterable, CustomTestStringConvertible {
    case ordinaryByte = "on a byte of a packet"
    case stray = "between two packets"
    case early = "before the connection is open"
    case second = "the second with one byte"
    case fortieth = "the fortieth with one byte"
    case refusedCall = "with a call that is refused"
    case passedOn = "passed on to the daemon"
    case unread = "never read"
    var testDescription: String { rawValue }
  }

  private func call(_ client: RawClient, _ program: UInt32) -> [UInt8] {
    let header = client.header(3, program: program, kind: .callWithDescriptors)
    return RawClient.packet(header, [0, 0, 0, 1])
  }

  private func pass(_ number: Int32, _ fate: Fate, on client: RawClient) throws {
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    defer { close(null) }
    switch fate {
    case .early, .unread: try client.send([0], descriptors: [number])
    case .ordinaryByte:
      try client.send(Array(call(client, Program.remote).prefix(20)), descriptors: [number])
    case .stray:
      try client.call(59)
      try client.send([0], descriptors: [number])
    case .second: try client.send([0], descriptors: [null, number])
    case .fortieth:
      try client.send(
        [0], descriptors: [Int32](repeating: null, count: 39) + [number])
    case .refusedCall, .passedOn:
      try client.send(call(client, fate == .passedOn ? Program.remote : 0x1234_5678))
      try client.send([0], descriptors: [number])
    }
  }

  @Test("closing it delays no other client", arguments: Fate.allCases)
  func slow(fate: Fate) async throws {
    // With one place, the second connection waits and is not read.
    let limits = ["max_clients = 1", "max_anonymous_clients = 1"]
    let scene = try await Scene(settings: fate == .unread ? limits : []) { _, _ in false }
    let broker = scene.broker
    try await blocking {
      let other = try broker.client()
      try other.open()
      let before = settledDescriptorCount(of: broker.pid)
      let sockets = try (0..<3).map { _ in try LingeringSocket() }
      for slow in sockets {
        let client = try broker.client()
        if fate != .early, fate != .unread { try client.open() }
        try pass(slow.descriptor, fate, on: client)
        // The daemon of this test drops what it receives. That must not be the last reference, so this end keeps one.
        if fate == .passedOn { _ = try client.receive() } else { slow.letGo() }
        client.vanish()
      }
      let end = Date(timeIntervalSinceNow: 4)
      while Date() < end {
        #expect(try other.call(59, within: 1).header.status == .ok)
        usleep(20_000)
      }
      for slow in sockets {
        slow.end()
        if fate == .passedOn { slow.letGo() }
      }
      #expect(
        eventually { descriptorCount(of: broker.pid) <= before },
        "\(descriptorCount(of: broker.pid)) descriptors, \(before) before")
    }
    try await scene.end()
  }
}
