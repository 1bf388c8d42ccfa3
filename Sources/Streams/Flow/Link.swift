// One connection: its transport, what came in on it and what waits to go out.

/// Why a connection is over.
public enum LinkEnd: Equatable, Sendable {
  /// The peer closed it.
  case closed
  /// The kernel said so, with this errno.
  case failed(Int32)
  /// The peer broke the protocol.
  case violation(Violation)
  /// Something this connection was receiving broke off in the middle of a packet: nothing honest can
  /// follow on it.
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
  /// Nothing can be sent any more, for this reason; there may still be something to read.
  private(set) var sendFailure: LinkEnd?
  /// Bytes that came in, which is also the sign of life keepalive looks for.
  var received: UInt64 = 0
  var sent: UInt64 = 0

  /// - Parameter announcing: the kind of packet with which this peer may send descriptors.
  init(
    transport: any Transport, pool: SegmentPool, announcing: PacketKind, largestWhole: Int
  ) {
    self.transport = transport
    let scanner = FrameScanner(
      announcing: announcing, carriesDescriptors: transport.carriesDescriptors)
    // libvirt's servers send the descriptors of a refused call back; no client sends any by itself.
    receiveBuffer = ReceiveBuffer(
      pool: pool, scanner: scanner, largestWhole: largestWhole,
      allowsStray: announcing == .replyWithDescriptors)
    scheduler = SendScheduler(pool: pool)
    own = SendQueue(pool: pool)
    scheduler.add(own)
  }

  /// One read. False if there was nothing, or the connection is over.
  func receive() -> Bool {
    switch receiveBuffer.receive(from: transport) {
    case .moved(let count):
      received &+= UInt64(count)
      return true
    case .blocked: return false
    case .end: end = end ?? .closed
    case .failed(let number): end = end ?? .failed(number)
    }
    return false
  }

  /// Sends what can be sent.
  func flush(at now: Double = 0) {
    guard end == nil, sendFailure == nil, scheduler.hasWork, !scheduler.isBlocked else { return }
    switch scheduler.flush(to: transport, at: now) {
    case .moved(let count): sent &+= UInt64(count)
    case .blocked: break
    case .end: sendFailure = .closed
    case .failed(let number): sendFailure = .failed(number)
    }
  }

  /// Forgets all that came in or waits to go out.
  func clear() {
    receiveBuffer.clear(transport)
    for sendQueue in scheduler.sendQueues { scheduler.remove(sendQueue, transport) }
  }
}
