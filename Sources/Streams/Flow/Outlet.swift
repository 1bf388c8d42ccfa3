// What waits to be sent on one socket, and whose turn it is.

/// Packets from one source to one socket, in order.
final class Lane {
  var queue: SegmentQueue
  /// Packets queue up but none leaves, for a connection that is not open yet.
  var isHeld = false
  /// Bytes of the packet being sent that have not left; 0 between packets.
  fileprivate(set) var midway = 0
  /// Bytes of a packet whose beginning is queued and whose rest its source has not given.
  var unfinished = 0
  /// Where its share of the service ends so far, in bytes of service.
  fileprivate var due: UInt64 = 0
  /// It has had something to send since its share was last compared with what the others got.
  fileprivate var isWaiting = false
  /// Bytes that have left.
  private var gone: UInt64 = 0
  /// The rates it is kept to.
  var metering: Metering?
  /// What had been queued on another lane when this one was made goes first: the call that opened a stream.
  private var before: (lane: Lane, end: UInt64)?

  init(pool: SegmentPool) { queue = SegmentQueue(pool: pool) }

  /// A lane for a metered stream that has travelled on `lane` so far.
  init(pool: SegmentPool, metering: Metering, behind lane: Lane) {
    queue = SegmentQueue(pool: pool)
    self.metering = metering
    before = (lane, lane.gone &+ UInt64(lane.queue.bytes))
  }

  /// The packet at the front has gone out in part, and no other may go before its rest.
  var isMidway: Bool { midway > 0 }

  /// Size of the packet at the front, carriers included, or what is left of it.
  fileprivate var frontLength: Int {
    if midway > 0 { return midway }
    if let sight = queue.front(FrameScanner.sight) { return Lane.length(at: sight) }
    return withUnsafeTemporaryAllocation(byteCount: FrameScanner.sight, alignment: 8) { sight in
      // Only packets are queued, so a header is always there in full.
      guard queue.peek(into: sight) >= Limits.header, let base = sight.baseAddress else {
        return queue.bytes
      }
      return Lane.length(at: base)
    }
  }

  /// Size of the packet at `bytes`, where as much of it lies as the scanner needs to see.
  private static func length(at bytes: UnsafeRawPointer) -> Int {
    let header = PacketHeader(at: bytes)
    var length = Int(header.length)
    if header.kind == .callWithDescriptors || header.kind == .replyWithDescriptors {
      length += Int(
        UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: Limits.header, as: UInt32.self)))
    }
    return length
  }

  /// Whether it has something to send at `now`, and may.
  fileprivate func mayGo(at now: Double) -> Bool {
    guard !isHeld, !queue.isEmpty else { return false }
    guard metering != nil || before != nil else { return true }
    if let (lane, end) = before {
      guard lane.gone >= end else { return false }
      before = nil
    }
    return mayGo(by: metering, at: now)
  }

  private func mayGo(by metering: Metering?, at now: Double) -> Bool {
    guard let metering else { return true }
    guard metering.allowed <= 0 else { return metering.mayGo(0, at: now) }
    return metering.mayGo(max(frontLength, min(queue.bytes, metering.batch)), at: now)
  }

  /// The most it may send in one go.
  fileprivate var allowed: Int {
    guard let metering else { return .max }
    return max(1, metering.allowed)
  }

  /// Until when it waits for its rate; nil: it does not.
  func waitsUntil(_ now: Double) -> Double? {
    guard let metering, !queue.isEmpty, !isMidway, before == nil, metering.goesAt > now else {
      return nil
    }
    return metering.goesAt
  }

  /// The first `count` bytes have left.
  fileprivate func sent(_ count: Int) {
    gone &+= UInt64(count)
    metering?.sent(count)
    if count == queue.bytes {
      queue.drop(count)
      midway = unfinished
      return
    }
    var left = count
    while left > 0 {
      if midway == 0 {
        left -= queue.dropPackets(left)
        guard left > 0 else { return }
        midway = frontLength
      }
      let step = min(left, midway)
      queue.drop(step)
      midway -= step
      left -= step
    }
  }

  func clear(_ transport: any Transport) {
    queue.clear { transport.discard(descriptor: $0) }
    unfinished = 0
  }
}

/// The sending half of a link. Where several lanes have packets, they take turns by bytes: each packet
/// is due when its lane would have sent it at an equal share, and the earliest due goes first, so a
/// small packet of a quiet lane waits for just the turn that is under way: one packet, or `turn` bytes of
/// smaller ones and the packet in which these end (self-clocked fair queueing).
struct Outlet: ~Copyable {
  /// Bytes one lane may send before the others are asked again, if its packets are smaller than that:
  /// one system call per packet would be the price of fairness among crumbs.
  fileprivate static let turn = 16 * 1024

  private let pool: SegmentPool
  private(set) var lanes: [Lane] = []
  /// How far the service has come: the due time of the packet sent last.
  private var clock: UInt64 = 0
  /// The socket took less than it was offered; its readiness must be waited for.
  private(set) var isBlocked = false
  private(set) var blockedOn: Interest = .write
  /// Bytes the transport has taken and the kernel has not (`Transport.unsent`).
  private var held = 0

  init(pool: SegmentPool) { self.pool = pool }

  mutating func add(_ lane: Lane) { lanes.append(lane) }

  mutating func remove(_ lane: Lane, _ transport: any Transport) {
    lane.clear(transport)
    lanes.removeAll { $0 === lane }
  }

  /// Everything that has not left, in bytes.
  var bytes: Int {
    var sum = held
    for lane in lanes { sum += lane.queue.bytes }
    return sum
  }

  /// There is something to send, and nothing forbids it.
  var hasWork: Bool {
    if held > 0 { return true }
    var hasWork = false
    for lane in lanes {
      if lane.isMidway { return !lane.queue.isEmpty }
      if !lane.isHeld, !lane.queue.isEmpty { hasWork = true }
    }
    return hasWork
  }

  /// The socket can be tried again.
  mutating func unblock() { isBlocked = false }

  /// Sends until nothing is left, the socket takes no more or `budget` bytes are gone.
  /// Returns the bytes sent, or how the connection ended.
  mutating func flush(
    to transport: any Transport, budget: Int = .max, at now: Double = 0
  ) -> Outcome {
    if held > 0, !isBlocked {
      let outcome = transport.send(UnsafeBufferPointer(start: nil, count: 0))
      if outcome == .end { return outcome }
      if case .failed = outcome { return outcome }
      note(outcome, transport)
    }
    var total = 0
    while !isBlocked, total < budget, let (lane, limit) = nextTurn(at: now) {
      let outcome: Outcome
      let offered: Int
      if lane.queue.frontIsDescriptor {
        offered = 1
        let descriptor = lane.queue.frontDescriptor
        outcome = transport.send(descriptor: descriptor)
        if outcome == .moved(1) { transport.discard(descriptor: descriptor) }
      } else {
        let used = lane.queue.gather(into: pool.runs, limit: min(limit, budget - total))
        var sum = 0
        for index in 0..<used { sum += pool.runs[index].count }
        offered = sum
        outcome = transport.send(UnsafeBufferPointer(rebasing: pool.runs[0..<used]))
      }
      switch outcome {
      case .moved(let count):
        lane.sent(count)
        // What was sent is what counts: a turn that ends inside a packet sends the rest of it as well.
        lane.due &+= UInt64(count)
        total += count
        if count < offered { block(on: .write) }
      case .blocked: break
      case .end, .failed:
        return outcome
      }
      note(outcome, transport)
    }
    return .moved(total)
  }

  /// What a send came to that did not end the connection.
  private mutating func note(_ outcome: Outcome, _ transport: any Transport) {
    held = transport.unsent
    if case .blocked(let on) = outcome {
      block(on: on)
    } else if held > 0 {
      block(on: .write)
    }
  }

  private mutating func block(on interest: Interest) {
    isBlocked = true
    blockedOn = interest
  }

  /// The lane to send from and how many bytes of it.
  private mutating func nextTurn(at now: Double) -> (Lane, Int)? {
    var only: Lane?
    var several = false
    for lane in lanes {
      if lane.isMidway { return lane.queue.isEmpty ? nil : (lane, lane.midway) }
      if !lane.mayGo(at: now) {
        lane.isWaiting = false
        continue
      }
      // A share not asked for is lost; one that is waited for is kept until its turn comes.
      if !lane.isWaiting {
        lane.isWaiting = true
        lane.due = max(clock, lane.due)
      }
      if only != nil { several = true }
      only = only ?? lane
    }
    guard several else {
      guard let only else { return nil }
      // What it sends while nobody else wants to is not held against it.
      clock = max(clock, only.due)
      return (only, only.allowed)
    }
    var chosen: Lane?
    var chosenDue = UInt64.max
    var limit = 0
    for lane in lanes where lane.isWaiting {
      let length = min(max(lane.frontLength, min(lane.queue.bytes, Outlet.turn)), lane.allowed)
      let due = lane.due &+ UInt64(length)
      if due < chosenDue {
        chosen = lane
        chosenDue = due
        limit = length
      }
    }
    guard let lane = chosen else { return nil }
    clock = max(clock, chosenDue)
    return (lane, limit)
  }
}
