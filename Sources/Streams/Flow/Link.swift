// One connection: its transport, its receive buffer and its send queues.

/// Why a connection is over.
public enum LinkEnd: Equatable, Sendable {
  /// The peer closed it.
  case closed
  /// The kernel reported this errno.
  case failed(Int32)
  /// The peer broke the protocol.
  case violation(Violation)
  /// The source of a packet ended in the middle of it, after the first part was sent on this connection. Nothing
  /// valid can follow.
  case brokenOff
}

/// A connection as the data flow sees it.
final class Link {
  let transport: any Transport
  var receiveBuffer: ReceiveBuffer
  var scheduler: SendScheduler
  /// For packets the broker makes itself.
  let own: SendQueue
  var end: LinkEnd?
  /// Why the connection accepts no more data. It may still have data to read.
  private(set) var sendFailure: LinkEnd?
  /// Bytes received. Keepalive takes an increase as a sign of life.
  var received: UInt64 = 0
  var sent: UInt64 = 0

  /// - Parameter announcing: the kind of packet with which this peer may send descriptors.
  init(
    transport: any Transport, pool: SegmentPool, announcing: PacketKind, largestWhole: Int
  ) {
    self.transport = transport
    let scanner = FrameScanner(
      announcing: announcing, carriesDescriptors: transport.carriesDescriptors)
    // libvirt's servers return the descriptors of a refused call. No client sends a descriptor outside a packet.
    receiveBuffer = ReceiveBuffer(
      pool: pool, scanner: scanner, largestWhole: largestWhole,
      allowsStray: announcing == .replyWithDescriptors)
    scheduler = SendScheduler(pool: pool)
    own = SendQueue(pool: pool)
    scheduler.add(own)
  }

  /// Reads once, at most `limit` bytes. False: no data was available, or the connection is over.
  func receive(limit: Int = .max) -> Bool {
    switch receiveBuffer.receive(from: transport, limit: limit) {
    case .moved(let count):
      received &+= UInt64(count)
      return true
    case .blocked: return false
    case .end: end = end ?? .closed
    case .failed(let number): end = end ?? .failed(number)
    }
    return false
  }

  /// Sends until the socket accepts no more.
  func flush(at now: Double = 0) {
    guard end == nil, sendFailure == nil, scheduler.hasWork, !scheduler.isBlocked else { return }
    switch scheduler.flush(to: transport, at: now) {
    case .moved(let count): sent &+= UInt64(count)
    case .blocked: break
    case .end: sendFailure = .closed
    case .failed(let number): sendFailure = .failed(number)
    }
  }

  /// There is data to send, and the owner waits until the socket accepts it.
  var isWaitingToSend: Bool {
    end == nil && sendFailure == nil && scheduler.isBlocked && scheduler.hasWork
  }

  /// Bytes of a packet of `sendQueue` went to the transport's pipe. `unfinished` more follow.
  func passed(_ count: Int, unfinished: Int, of sendQueue: SendQueue) {
    sent &+= UInt64(count)
    scheduler.passed(count, unfinished: unfinished, of: sendQueue, transport)
  }

  /// Moves all queues but that of the broker's own packets to another link.
  func moveQueues(to other: Link) {
    for sendQueue in scheduler.sendQueues where sendQueue !== own {
      scheduler.release(sendQueue)
      other.scheduler.add(sendQueue)
    }
  }

  /// Writes what was received and the broker's own packets, or reads it into a fresh link.
  func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&received)
    try coder.code(&sent)
    try receiveBuffer.code(&coder)
    try own.code(&coder)
    if coder.isReading { scheduler.beginSending(to: transport) }
  }

  /// Nothing has ended, so the link can be moved to another process.
  var isWhole: Bool { end == nil && sendFailure == nil && !receiveBuffer.hasMisplacedDescriptor }

  /// Discards all received and queued bytes and descriptors.
  func clear() { clear(by: transport) }

  /// - Parameter transport: what closes the descriptors.
  func clear(by transport: any Transport) {
    receiveBuffer.clear(transport)
    for sendQueue in scheduler.sendQueues { scheduler.remove(sendQueue, transport) }
  }
}
