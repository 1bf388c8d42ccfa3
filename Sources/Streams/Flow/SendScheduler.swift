// What waits to be sent on one socket, and whose turn it is.

/// Packets from one source to one socket, in order.
final class SendQueue {
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
  /// What had been queued on another queue when this one was made goes first: the call that opened a stream.
  private var before: (sendQueue: SendQueue, end: UInt64)?

  init(pool: SegmentPool) { queue = SegmentQueue(pool: pool) }

  /// A queue for a metered stream that has travelled on `queue` so far.
  init(pool: SegmentPool, metering: Metering, behind sendQueue: SendQueue) {
    queue = SegmentQueue(pool: pool)
    self.metering = metering
    before = (sendQueue, sendQueue.gone &+ UInt64(sendQueue.queue.bytes))
  }

  /// The packet at the front has gone out in part, and no other may go before its rest.
  var isMidway: Bool { midway > 0 }

  /// Size of the packet at the front, carriers included, or what is left of it.
  fileprivate var frontLength: Int {
    if midway > 0 { return midway }
    if let sight = queue.front(FrameScanner.sight) { return SendQueue.length(at: sight) }
    return withUnsafeTemporaryAllocation(byteCount: FrameScanner.sight, alignment: 8) { sight in
      // Only packets are queued, so a header is always there in full.
      guard queue.peek(into: sight) >= Limits.header, let base = sight.baseAddress else {
        return queue.bytes
      }
      return SendQueue.length(at: base)
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
    if let (sendQueue, end) = before {
      guard sendQueue.gone >= end else { return false }
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

/// The sending half of a link. Where several queues have packets, they take turns by bytes: each packet
/// is due when its queue would have sent it at an equal share, and the earliest due goes first, so a
/// small packet of a quiet queue waits for just the turn that is under way: one packet, or `turn` bytes of
/// smaller ones and the packet in which these end (self-clocked fair queueing).
struct SendScheduler: ~Copyable {
  /// Bytes one queue may send before the others are asked again, if its packets are smaller than that:
  /// one system call per packet would be the price of fairness among crumbs.
  fileprivate static let turn = 16 * 1024

  private let pool: SegmentPool
  private(set) var sendQueues: [SendQueue] = []
  /// How far the service has come: the due time of the packet sent last.
  private var clock: UInt64 = 0
  /// The socket took less than it was offered; its readiness must be waited for.
  private(set) var isBlocked = false
  private(set) var blockedOn: Interest = .write
  /// Bytes the transport has taken and the kernel has not (`Transport.unsent`).
  private var held = 0

  init(pool: SegmentPool) { self.pool = pool }

  mutating func add(_ sendQueue: SendQueue) { sendQueues.append(sendQueue) }

  mutating func remove(_ sendQueue: SendQueue, _ transport: any Transport) {
    sendQueue.clear(transport)
    sendQueues.removeAll { $0 === sendQueue }
  }

  /// Everything that has not left, in bytes.
  var bytes: Int {
    var sum = held
    for sendQueue in sendQueues { sum += sendQueue.queue.bytes }
    return sum
  }

  /// There is something to send, and nothing forbids it.
  var hasWork: Bool {
    if held > 0 { return true }
    var hasWork = false
    for sendQueue in sendQueues {
      if sendQueue.isMidway { return !sendQueue.queue.isEmpty }
      if !sendQueue.isHeld, !sendQueue.queue.isEmpty { hasWork = true }
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
    while !isBlocked, total < budget, let (sendQueue, limit) = nextTurn(at: now) {
      let outcome: Outcome
      let offered: Int
      if sendQueue.queue.frontIsDescriptor {
        offered = 1
        let descriptor = sendQueue.queue.frontDescriptor
        outcome = transport.send(descriptor: descriptor)
        if outcome == .moved(1) { transport.discard(descriptor: descriptor) }
      } else {
        let used = sendQueue.queue.gather(into: pool.runs, limit: min(limit, budget - total))
        var sum = 0
        for index in 0..<used { sum += pool.runs[index].count }
        offered = sum
        outcome = transport.send(UnsafeBufferPointer(rebasing: pool.runs[0..<used]))
      }
      switch outcome {
      case .moved(let count):
        sendQueue.sent(count)
        // What was sent is what counts: a turn that ends inside a packet sends the rest of it as well.
        sendQueue.due &+= UInt64(count)
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

  /// The queue to send from and how many bytes of it.
  private mutating func nextTurn(at now: Double) -> (SendQueue, Int)? {
    var only: SendQueue?
    var several = false
    for sendQueue in sendQueues {
      if sendQueue.isMidway { return sendQueue.queue.isEmpty ? nil : (sendQueue, sendQueue.midway) }
      if !sendQueue.mayGo(at: now) {
        sendQueue.isWaiting = false
        continue
      }
      // A share not asked for is lost; one that is waited for is kept until its turn comes.
      if !sendQueue.isWaiting {
        sendQueue.isWaiting = true
        sendQueue.due = max(clock, sendQueue.due)
      }
      if only != nil { several = true }
      only = only ?? sendQueue
    }
    guard several else {
      guard let only else { return nil }
      // What it sends while no other queue has data is not counted against it.
      clock = max(clock, only.due)
      return (only, only.allowed)
    }
    var chosen: SendQueue?
    var chosenDue = UInt64.max
    var limit = 0
    for sendQueue in sendQueues where sendQueue.isWaiting {
      let length = min(
        max(sendQueue.frontLength, min(sendQueue.queue.bytes, SendScheduler.turn)),
        sendQueue.allowed)
      let due = sendQueue.due &+ UInt64(length)
      if due < chosenDue {
        chosen = sendQueue
        chosenDue = due
        limit = length
      }
    }
    guard let sendQueue = chosen else { return nil }
    clock = max(clock, chosenDue)
    return (sendQueue, limit)
  }
}
