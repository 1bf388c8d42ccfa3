// The send queues of one socket, and the choice of the next queue to send from.

/// Packets from one source to one socket, in order.
final class SendQueue {
  var queue: SegmentQueue
  /// Packets are queued but not sent, because the connection is not open yet.
  var isHeld = false
  /// Bytes of the packet being sent that are not sent yet; 0 between packets.
  fileprivate(set) var midway = 0
  /// Bytes of a packet whose beginning is queued and whose rest has not arrived from its source.
  var unfinished = 0
  /// The virtual time at which the queue's share so far ends, in bytes of service.
  fileprivate var due: UInt64 = 0
  /// The queue competes for its turn: it has had data to send since `due` was last aligned with the scheduler's clock.
  fileprivate var isWaiting = false
  /// Bytes sent in total.
  private var gone: UInt64 = 0
  /// The rate limits of the queue; nil: none.
  var metering: Metering?
  /// Data that another queue held when this one was made is sent first. It includes the call that opened the stream.
  private var before: (sendQueue: SendQueue, end: UInt64)?

  init(pool: SegmentPool) { queue = SegmentQueue(pool: pool) }

  /// A queue for a metered stream whose packets have used `sendQueue` so far.
  init(pool: SegmentPool, metering: Metering, behind sendQueue: SendQueue) {
    queue = SegmentQueue(pool: pool)
    self.metering = metering
    before = (sendQueue, sendQueue.gone &+ UInt64(sendQueue.queue.bytes))
  }

  /// The packet at the front was sent in part. No other packet may be sent before its rest.
  var isMidway: Bool { midway > 0 }

  /// Bytes of the packet at the front, or of its unsent rest, carriers included.
  fileprivate var frontLength: Int {
    if midway > 0 { return midway }
    if let sight = queue.front(FrameScanner.sight) { return SendQueue.length(at: sight) }
    return withUnsafeTemporaryAllocation(byteCount: FrameScanner.sight, alignment: 8) { sight in
      // Only packets are queued, so the header is complete.
      guard queue.peek(into: sight) >= Limits.header, let base = sight.baseAddress else {
        return queue.bytes
      }
      return SendQueue.length(at: base)
    }
  }

  /// Bytes of the packet at `bytes`. As much of it is contiguous as the scanner reads.
  private static func length(at bytes: UnsafeRawPointer) -> Int {
    let header = PacketHeader(at: bytes)
    var length = Int(header.length)
    if header.kind == .callWithDescriptors || header.kind == .replyWithDescriptors {
      length += Int(
        UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: Limits.header, as: UInt32.self)))
    }
    return length
  }

  /// Whether the queue has data and may send it at `now`.
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

  /// The most bytes that the queue may send now.
  fileprivate var allowed: Int {
    guard let metering else { return .max }
    return max(1, metering.allowed)
  }

  /// Until when the queue waits for its rate; nil: it does not wait.
  func waitsUntil(_ now: Double) -> Double? {
    guard let metering, !queue.isEmpty, !isMidway, before == nil, metering.goesAt > now else {
      return nil
    }
    return metering.goesAt
  }

  /// The first `count` bytes were sent.
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

  /// Bytes of a packet went to the socket's pipe, past the empty queue; its rest follows.
  fileprivate func passed(_ count: Int, unfinished rest: Int) {
    gone &+= UInt64(count)
    due &+= UInt64(count)
    unfinished = rest
    midway = rest
  }

  func clear(_ transport: any Transport) {
    queue.clear { transport.discard(descriptor: $0) }
    unfinished = 0
  }

  /// Writes what is queued, or reads it into a fresh queue. Its share of the socket begins anew.
  func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&isHeld)
    try coder.code(&midway, in: 0...SendQueue.mostUnfinished)
    try coder.code(&unfinished, in: 0...SendQueue.mostUnfinished)
    try queue.code(&coder)
  }

  private static let mostUnfinished = Limits.packet + Limits.descriptors

  /// Writes or reads how many bytes of the queue that this one follows go first. `sendQueue` is that queue.
  func codeOrder(behind sendQueue: SendQueue, _ coder: inout SnapshotCoder) throws(Violation) {
    var left = before.map { $0.end > sendQueue.gone ? $0.end &- sendQueue.gone : 0 } ?? 0
    try coder.code(&left, in: 0...UInt64(sendQueue.queue.bytes))
    if coder.isReading { before = left > 0 ? (sendQueue, sendQueue.gone &+ left) : nil }
  }
}

/// The sending half of a link. Queues with packets take turns by bytes (self-clocked fair queueing). Each packet is due
/// when its queue would have sent it at an equal share, and the packet with the earliest due time is sent first. So a
/// small packet of a quiet queue waits only for the current turn: one packet, or `turn` bytes of smaller packets up to
/// the end of the last of them.
struct SendScheduler: ~Copyable {
  /// Bytes of small packets that one queue may send in a turn. With a turn per packet, each small packet would cost a
  /// system call.
  fileprivate static let turn = 16 * 1024

  private let pool: SegmentPool
  private(set) var sendQueues: [SendQueue] = []
  /// Virtual time: the due time of the packet sent last.
  private var clock: UInt64 = 0
  /// The socket accepted less than it was offered. The owner waits until it is ready.
  private(set) var isBlocked = false
  private(set) var blockedOn: Interest = .write
  /// Bytes that the transport has accepted and the kernel has not (`Transport.unsent`).
  private var held = 0

  init(pool: SegmentPool) { self.pool = pool }

  mutating func add(_ sendQueue: SendQueue) { sendQueues.append(sendQueue) }

  mutating func remove(_ sendQueue: SendQueue, _ transport: any Transport) {
    sendQueue.clear(transport)
    release(sendQueue)
  }

  /// Removes a queue, which keeps its data, because another scheduler takes it.
  mutating func release(_ sendQueue: SendQueue) { sendQueues.removeAll { $0 === sendQueue } }

  /// Bytes not sent yet.
  var bytes: Int {
    var sum = held
    for sendQueue in sendQueues { sum += sendQueue.queue.bytes }
    return sum
  }

  /// There is data to send, and its queue is not held.
  var hasWork: Bool {
    if held > 0 { return true }
    var hasWork = false
    for sendQueue in sendQueues {
      if sendQueue.isMidway { return !sendQueue.queue.isEmpty }
      if !sendQueue.isHeld, !sendQueue.queue.isEmpty { hasWork = true }
    }
    return hasWork
  }

  /// The transport of a link that was moved to this process may hold bytes.
  mutating func beginSending(to transport: any Transport) { held = transport.unsent }

  /// Nothing is queued, and no packet is sent in part. The transport itself may hold bytes.
  var isIdle: Bool {
    for sendQueue in sendQueues {
      if sendQueue.isMidway || !sendQueue.queue.isEmpty { return false }
    }
    return true
  }

  /// Bytes of a packet of `sendQueue`, which is empty, went to the transport's pipe. `unfinished` more follow.
  mutating func passed(
    _ count: Int, unfinished: Int, of sendQueue: SendQueue, _ transport: any Transport
  ) {
    sendQueue.passed(count, unfinished: unfinished)
    held = transport.unsent
  }

  /// The socket is ready.
  mutating func unblock() { isBlocked = false }

  /// Sends until nothing is left, the socket accepts no more or `budget` bytes are sent.
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
        // Count the bytes sent: a turn that ends inside a packet also sends the rest of it.
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

  /// Records the outcome of a send that did not end the connection.
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

  /// The queue to send from, and how many bytes.
  private mutating func nextTurn(at now: Double) -> (SendQueue, Int)? {
    var only: SendQueue?
    var several = false
    for sendQueue in sendQueues {
      if sendQueue.isMidway { return sendQueue.queue.isEmpty ? nil : (sendQueue, sendQueue.midway) }
      if !sendQueue.mayGo(at: now) {
        sendQueue.isWaiting = false
        continue
      }
      // A queue that cannot send loses its share. A queue that waits for its turn keeps it.
      if !sendQueue.isWaiting {
        sendQueue.isWaiting = true
        sendQueue.due = max(clock, sendQueue.due)
      }
      if only != nil { several = true }
      only = only ?? sendQueue
    }
    guard several else {
      guard let only else { return nil }
      // Bytes sent while no other queue has data do not count against this one.
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
