// Recorded connections through a relay: the same packets come out.
import Testing

@testable import Simulator
@testable import Streams

/// One capture, replayed between both sides of a relay in the recorded order.
private struct Replay {
  /// The bytes that one side sent before the other sent something.
  struct Burst {
    var isFromClient: Bool
    var bytes: [UInt8] = []
    /// Positions in `bytes` that carry a descriptor.
    var carriers: [Int] = []
  }

  private(set) var bursts: [Burst] = []
  /// The bytes that each side must get: all except those that the broker answers or keeps.
  private(set) var forBackend: [UInt8] = []
  private(set) var forClient: [UInt8] = []
  private(set) var descriptorsUp = 0
  private(set) var descriptorsDown = 0
  var count: Int { bursts.reduce(0) { $0 + $1.bytes.count } }

  /// The calls that the broker answers itself.
  static func isOwn(_ header: PacketHeader) -> Bool {
    switch header.procedure {
    case Remote.connectOpen, Remote.connectClose, Remote.connectSetIdentity,
      Remote.authList...Remote.authPolkit:
      true
    default: false
    }
  }

  init(_ capture: String) throws {
    let bytes = [
      "c2s": try Golden.bytes("\(capture).c2s"), "s2c": try Golden.bytes("\(capture).s2c"),
    ]
    var own: Set<UInt32> = []
    var lastCounted = true
    for row in try Golden.rows() where row.capture == capture && row.kind != "SASL" {
      let isFromClient = row.direction == "c2s"
      let part = try #require(bytes[row.direction])[row.offset..<row.offset + row.length]
      let isCarrier = row.kind == "CARRIER"
      var counts = true
      if let header = row.header {
        if header.kind == .call, Self.isOwn(header) { own.insert(header.serial) }
        let isAnswered = own.contains(header.serial) && header.kind != .message
        // A backend does not answer a call that it did not get.
        if isAnswered, !isFromClient { continue }
        counts = !isAnswered && header.program != Program.keepAlive
      } else {
        counts = lastCounted
      }
      lastCounted = counts
      if bursts.last?.isFromClient != isFromClient {
        bursts.append(Burst(isFromClient: isFromClient))
      }
      if isCarrier {
        bursts[bursts.count - 1].carriers.append(bursts[bursts.count - 1].bytes.count)
      }
      bursts[bursts.count - 1].bytes += part
      guard counts else { continue }
      if isFromClient {
        forBackend += part
        if isCarrier { descriptorsUp += 1 }
      } else {
        forClient += part
        if isCarrier { descriptorsDown += 1 }
      }
    }
  }

  /// Replays the capture. Reads end at these positions of the whole capture, at the end of each burst, and at each
  /// descriptor. Returns a description of the first difference.
  func play(cuts: Set<Int>, segment: Int, largestWhole: Int = Limits.usualPacket) -> String? {
    let harness = RelayHarness(maxRequests: 64, segment: segment, largestWhole: largestWhole)
    harness.isAnswered = Replay.isOwn
    var begin = 0
    var descriptor: Int32 = 100
    for burst in bursts {
      var ends: [Int] = []
      for end in 1...burst.bytes.count
      where end == burst.bytes.count || cuts.contains(begin + end)
        || burst.carriers.contains(end - 1)
      {
        ends.append(end)
      }
      begin += burst.bytes.count
      var start = 0
      for end in ends {
        let isCarrier = burst.carriers.contains(end - 1)
        if isCarrier { descriptor += 1 }
        let carried = isCarrier ? descriptor : -1
        if burst.isFromClient {
          harness.fromClient(Array(burst.bytes[start..<end]), descriptor: carried)
        } else {
          harness.fromBackend(0, Array(burst.bytes[start..<end]), descriptor: carried)
        }
        start = end
        // A piece larger than a segment takes several reads.
        while harness.client.hasPieces || harness.backends[0].hasPieces {
          harness.relay.clientReady(.read)
          harness.relay.upstreamReady(0, .read)
        }
      }
    }
    if let end = harness.relay.clientEnd { return "the client's connection ended: \(end)" }
    if let end = harness.ended.first { return "the upstream ended: \(end.reason)" }
    if harness.backends[0].sentDescriptors.count != descriptorsUp { return "descriptors up" }
    if harness.client.sentDescriptors.count != descriptorsDown { return "descriptors down" }
    let up = without(own: harness.backends[0].takeBytes())
    let down = without(own: harness.client.takeBytes())
    if let difference = difference(up, forBackend) { return "to the backend: \(difference)" }
    if let difference = difference(down, forClient) { return "to the client: \(difference)" }
    if harness.pool.heldCount != 0 { return "\(harness.pool.heldCount) segments are held" }
    return nil
  }

  /// `bytes` without the broker's own packets: PONGs, and replies to the calls it answers.
  private func without(own bytes: [UInt8]) -> [UInt8] {
    var kept: [UInt8] = []
    var rest = bytes[...]
    while rest.count >= Limits.header {
      let header = Array(rest.prefix(Limits.header)).withUnsafeBytes { bytes in
        bytes.baseAddress.map { PacketHeader(at: $0) }
      }
      guard let header, Int(header.length) <= rest.count else { break }
      var length = Int(header.length)
      if header.kind == .callWithDescriptors || header.kind == .replyWithDescriptors {
        length += Int(rest[rest.startIndex + 31])
      }
      let isOwn =
        header.program == Program.keepAlive || (header.kind == .reply && Replay.isOwn(header))
      if !isOwn { kept += rest.prefix(length) }
      rest = rest.dropFirst(length)
    }
    return kept + rest
  }
}

@Suite("relay: golden captures")
struct RelayGoldenTests {
  static let captures = [
    "01-tcp-list-domains", "02-vol-download", "03-vol-upload", "04-vol-download-sparse",
    "05-vol-upload-sparse", "06-event-lifecycle", "07-error-reply", "08-fd-reply-open-graphics-fd",
    "09-fd-call-fd-associate", "10-backend-identity-tls", "11-backend-identity-unix",
    "12-stream-abort-and-error", "15-keepalive",
  ]

  @Test("every capture of the REMOTE program is replayed")
  func complete() throws {
    let all = try Golden.rows().filter { $0.header?.program == Program.remote }.map(\.capture)
    // Capture 13 is missing: all of it is authentication or encrypted.
    #expect(Set(all).subtracting(Self.captures) == ["13-sasl-digest-md5"])
    for capture in Self.captures where capture != "15-keepalive" {
      let replay = try Replay(capture)
      #expect(replay.forBackend.count > 60, "\(capture)")
      #expect(replay.forClient.count > 60, "\(capture)")
    }
    #expect(try Replay("08-fd-reply-open-graphics-fd").descriptorsDown == 1)
    #expect(try Replay("09-fd-call-fd-associate").descriptorsUp == 2)
  }

  @Test("a capture passes unchanged, wherever it is cut in two", arguments: captures)
  func everyCut(capture: String) throws {
    let replay = try Replay(capture)
    #expect(replay.play(cuts: [], segment: SegmentPool.usualCapacity) == nil)
    // In long captures most bytes are stream data, so random positions are enough.
    var random = Seed(1)
    let cuts =
      replay.count < 3000
      ? Array(1..<replay.count) : (0..<1000).map { _ in random.pick(1...replay.count - 1) }
    for cut in cuts {
      let problem = replay.play(cuts: [cut], segment: 4096)
      #expect(problem == nil, "cut at \(cut)")
      if problem != nil { return }
    }
  }

  @Test("a capture passes unchanged byte by byte and in pieces of one size", arguments: captures)
  func pieces(capture: String) throws {
    let replay = try Replay(capture)
    for size in [1, 2, 3, 5, 27, 28, 29, 31, 32, 33, 100, 224] {
      let cuts = Set(stride(from: size, to: replay.count, by: size))
      #expect(replay.play(cuts: cuts, segment: 256) == nil, "pieces of \(size)")
    }
  }

  @Test(
    "a capture passes unchanged with random cuts, segment sizes and limits for whole packets",
    arguments: captures)
  func random(capture: String) throws {
    let replay = try Replay(capture)
    for seed in 0..<60 as Range<UInt64> {
      var random = Seed(seed)
      let cuts = Set((0..<random.pick(1...60)).map { _ in random.pick(1...replay.count) })
      let segment = random.pick(64...600)
      // The broker reads the calls it answers as a whole.
      let whole = random.pick(320...1000)
      #expect(replay.play(cuts: cuts, segment: segment, largestWhole: whole) == nil, "seed \(seed)")
    }
  }
}
