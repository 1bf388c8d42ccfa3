// A destination that reads migration data slowly, or not at all for a long time.
//
//   VIRTBROKER_LONG=1   realistic times: two minutes at 1 MiB/s, a stall of 90 seconds, keepalive every 5 s
import Foundation
import Streams
import Synchronization
import Testing

@Suite("Backpressure from a migration's destination")
struct BackPressureTests {
  enum Destination: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case slow = "takes 1 MiB/s"
    case stalled = "takes nothing for a while, and then all of it"
    var testDescription: String { rawValue }
  }

  /// DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, and the payload of one packet of libvirt's source.
  static let prepareTunnel: Int32 = 304
  static let message = 65_536
  static let buffer = 512 << 10
  static let isLong = ProcessInfo.processInfo.environment["VIRTBROKER_LONG"] != nil
  /// For the broker and the client; a connection without received data is closed after (count + 1) intervals.
  static let (interval, count) = isLong ? (5, 5) : (2, 5)

  /// The maximum size of TCP's buffers at both ends of a connection.
  static let kernelBytes = ["tcp_rmem", "tcp_wmem"].reduce(0) { sum, name in
    let words = try? String(contentsOfFile: "/proc/sys/net/ipv4/\(name)", encoding: .utf8)
    return sum + (words?.split(whereSeparator: \.isWhitespace).last.flatMap { Int($0) } ?? 0)
  }

  static func seconds(_ destination: Destination) -> Double {
    guard !isLong else { return destination == .slow ? 120 : 90 }
    return 14
  }

  @Test(
    "a slow destination loses no connection, keeps memory within its limit, and does not delay other clients",
    arguments: Destination.allCases, Way.allCases)
  func destination(destination: Destination, way: Way) async throws {
    let pace = Pace()
    let settings = [
      "keepalive_interval = \(Self.interval)", "keepalive_count = \(Self.count)",
      "max_client_buffer = \(Self.buffer)",
    ]
    let scene = try await Scene(settings: settings) { line, packet in
      guard packet.header.kind == .stream else { return false }
      if packet.header.status == .continue {
        pace.take(packet.body.count)
      } else {
        var confirmation = packet.header
        confirmation.status = .ok
        try line.send(Packets.make(confirmation))
      }
      return true
    }
    let broker = scene.broker
    let others = Task {
      try await blocking { try OtherClient(broker, idleSeconds: Self.isLong ? 10 : 1) }
    }
    let other = try await others.value
    try await blocking {
      let client = try broker.client(way)
      try client.wantKeepAlive()
      try client.open()
      let call = client.header(Self.prepareTunnel)
      try #require(client.call(call, Packets.make(call)).header.status == .ok)
      var stream = call
      stream.kind = .stream
      stream.status = .continue
      let sender = LivelySender(
        client, RawClient.packet(stream, [UInt8](repeating: 7, count: Self.message)),
        interval: Double(Self.interval), count: Self.count)
      // The memory at full speed.
      try sender.run(seconds: 0.5)
      let before = broker.peakBytes

      pace.slowDown(to: destination == .slow ? 1 << 20 : 0)
      let start = (taken: pace.taken, sent: sender.sentBytes)
      other.begin()
      try sender.run(seconds: Self.seconds(destination))
      let (usual, meanwhile) = try other.end()
      let (taken, sent) = (pace.taken - start.taken, sender.sentBytes - start.sent)
      pace.slowDown(to: nil)

      // In addition to the broker's own memory, the kernel queues as much as its settings allow.
      #expect(
        sent - taken < Self.buffer + (8 << 20) + Self.kernelBytes,
        "the source was held back, not only the destination")
      if destination == .slow {
        #expect(taken > Int(Self.seconds(destination)) << 19, "it was slow, and not at rest")
      }
      #expect(broker.peakBytes - before < Self.buffer + (2 << 20), "what waits is bounded")
      try #require(!usual.isEmpty && !meanwhile.isEmpty)
      #expect(meanwhile.allSatisfy { $0 < 2 }, "others are served")

      // Then all data arrive, and the destination confirms them.
      try sender.run(seconds: 0.5)
      try sender.finishPacket()
      stream.status = .ok
      try client.send(Packets.make(stream))
      try sender.await("the confirmation") { $0.header.kind == .stream }
      #expect(pace.taken == sender.sentBytes, "every byte was taken")
      #expect(!broker.log.contains("VB-CLI-013"), "\(broker.log)")
      print(
        """
        destination \(destination.rawValue), client at \(way.rawValue), \
        \(Self.seconds(destination)) s: \(sent >> 10) KiB sent, \(taken >> 10) KiB taken; memory \
        \((broker.peakBytes - before) >> 10) KiB above before; \(sender.pings) PINGs of the broker; another client's \
        call, median and p99: \(micro(usual.part(0.5))), \(micro(usual.part(0.99))) µs before \
        (\(usual.count) calls, at most \(micro(usual.max() ?? 0)) µs), \
        \(micro(meanwhile.part(0.5))), \(micro(meanwhile.part(0.99))) µs meanwhile \
        (\(meanwhile.count) calls, at most \(micro(meanwhile.max() ?? 0)) µs)
        """)
      if Self.isLong {
        #expect(meanwhile.part(0.5) - usual.part(0.5) < 0.001, "less than a millisecond is added")
        #expect(meanwhile.part(0.99) - usual.part(0.99) < 0.001, "to nearly all of them")
      }
    }
    try await scene.end()
  }
}

extension [Double] {
  /// The given quantile of the reply times.
  fileprivate func part(_ part: Double) -> Double {
    isEmpty ? 0 : sorted()[Swift.min(count - 1, Int(Double(count) * part))]
  }
}

private func micro(_ seconds: Double) -> Int { Int(seconds * 1e6) }

/// The rate at which a destination reads.
private final class Pace: Sendable {
  private struct State {
    var bytesPerSecond: Int?
    var taken = 0
  }
  private let state = Mutex(State())

  var taken: Int { state.withLock(\.taken) }

  /// Nil: without limit; 0: not at all.
  func slowDown(to bytesPerSecond: Int?) {
    state.withLock { $0.bytesPerSecond = bytesPerSecond }
  }

  /// Returns when `count` bytes have been read at this rate.
  func take(_ count: Int) {
    while let rate = state.withLock(\.bytesPerSecond) {
      if rate > 0 {
        usleep(UInt32(count * 1_000_000 / rate))
        break
      }
      usleep(5000)
    }
    state.withLock { $0.taken += count }
  }
}

/// A client that makes a call every 10 ms and times each reply.
private final class OtherClient: Sendable {
  private struct State {
    var isOver = false
    /// Whether the client is still alone, and whether the measured phase has started.
    var (isAlone, isMeasuring) = (true, false)
    var before: [Double] = []
    var meanwhile: [Double] = []
    var trouble: (any Error)?
  }
  private let state = Mutex(State())
  private let finished = DispatchSemaphore(value: 0)

  /// Returns after it has made calls alone for `idleSeconds`.
  init(_ broker: BrokerProcess, idleSeconds: Double) throws {
    let thread = Thread { [self] in
      do {
        let client = try broker.client()
        try client.open()
        while !state.withLock(\.isOver) {
          let start = ContinuousClock.now
          try client.call(157)
          let seconds = (ContinuousClock.now - start) / .seconds(1)
          state.withLock { state in
            if state.isMeasuring {
              state.meanwhile.append(seconds)
            } else if state.isAlone {
              state.before.append(seconds)
            }
          }
          usleep(10_000)
        }
      } catch {
        state.withLock { $0.trouble = error }
      }
      finished.signal()
    }
    thread.start()
    usleep(UInt32(idleSeconds * 1e6))
    state.withLock { $0.isAlone = false }
  }

  func begin() { state.withLock { $0.isMeasuring = true } }

  /// The reply times in seconds while the client was alone, and since `begin`.
  func end() throws -> ([Double], [Double]) {
    state.withLock { $0.isOver = true }
    finished.wait()
    return try state.withLock { state in
      if let trouble = state.trouble { throw trouble }
      return (state.before, state.meanwhile)
    }
  }
}
