// A connection whose calls the broker answers at once: one of the admin socket.

/// Answers the calls of a server connection.
public protocol ServerConnectionOwner: AnyObject {
  /// Must call `reply` before it returns. The body follows the header; a count of descriptors is not part of it.
  func answer(_ call: PacketHeader, body: [UInt8])
}

/// Receives calls and sends replies in order, with the same receive buffer and scheduler as a relay. While a peer does
/// not read its replies, the broker does not read the peer.
public final class ServerConnection {
  /// Bytes that are kept of a call. Calls are small; the rest of a larger one is dropped.
  public static let largestCall = 256 * 1024
  /// High watermark: the connection is not read while more than this many bytes of replies are queued.
  private static let mark = 64 * 1024
  private static let readsPerTurn = 4

  private let link: Link
  /// A large call that is arriving in parts: its header and the beginning of its body.
  private var largeCall: (header: PacketHeader, body: [UInt8])?
  private unowned(unsafe) let owner: any ServerConnectionOwner
  /// The connection drains: nothing more is read. The owner ends it when the queued replies are sent.
  public var isLeaving = false
  /// The peer has sent a keepalive packet, so it understands a PING.
  public private(set) var knowsKeepAlive = false

  /// - Parameter owner: must outlive the connection.
  public init(over transport: any Transport, owner: any ServerConnectionOwner, pool: SegmentPool) {
    self.owner = owner
    link = Link(
      transport: transport, pool: pool, announcing: .callWithDescriptors,
      largestWhole: ServerConnection.largestCall)
  }

  deinit { clear() }

  /// The socket is ready.
  public func ready(_ ready: Interest) {
    if ready.contains(.write) { link.scheduler.unblock() }
    if ready.contains(.read) {
      var reads = 0
      while mayRead, link.receive() {
        takeCalls()
        reads += 1
        guard link.receiveBuffer.wasFilled, reads < ServerConnection.readsPerTurn else { break }
      }
    }
    settle()
  }

  /// Enqueues a packet. `settle` sends it.
  public func reply(_ packet: [UInt8]) {
    packet.withUnsafeBytes { link.own.queue.append(copying: $0) }
  }

  /// Sends what the socket accepts, then continues with the calls that waited for it. The owner calls it after each
  /// change from outside.
  public func settle() {
    repeat {
      link.flush()
      if let failure = link.sendFailure { link.end = link.end ?? failure }
    } while takeCalls()
    link.receiveBuffer.settle()
  }

  private var mayRead: Bool {
    link.end == nil && !isLeaving && link.own.queue.bytes <= ServerConnection.mark
  }

  /// What the loop watches the socket for. A function of the state alone.
  public var interest: Interest {
    guard link.end == nil else { return [] }
    var interest: Interest = mayRead ? .read : []
    if link.scheduler.isBlocked, link.scheduler.hasWork {
      interest.formUnion(link.scheduler.blockedOn)
    }
    return interest
  }

  /// Why the connection is over; nil: it is not.
  public var end: LinkEnd? { link.end }
  /// Bytes queued for the peer.
  public var waiting: Int { link.own.queue.bytes }

  /// Answers the received calls until the queue is above its watermark. True: at least one packet was taken.
  @discardableResult
  private func takeCalls() -> Bool {
    var moved = false
    do throws(Violation) {
      while mayRead, let frame = try link.receiveBuffer.next() {
        moved = true
        take(frame)
      }
    } catch {
      link.end = link.end ?? .violation(error)
    }
    return moved
  }

  private func take(_ frame: Frame) {
    let header = frame.header
    let isFirst = frame.part == .whole || frame.part == .first
    switch header.kind {
    case .call, .callWithDescriptors:
      // The scanner accepts a call with descriptors here only if its count is 0.
      let start = header.kind == .call ? Limits.header : FrameScanner.sight
      let kept = isFirst ? 0 : largeCall?.body.count ?? 0
      let bytes = link.receiveBuffer.bytes(
        of: frame, from: isFirst ? start : 0, limit: ServerConnection.largestCall - kept)
      link.receiveBuffer.drop(frame, link.transport)
      if frame.part == .whole { return owner.answer(header, body: bytes) }
      if isFirst { largeCall = (header, bytes) } else { largeCall?.body += bytes }
      guard frame.part == .last, let call = largeCall else { return }
      largeCall = nil
      // libvirt's servers ignore bytes behind the arguments. All arguments end within the bytes kept.
      owner.answer(call.header, body: call.body)
    default:
      link.receiveBuffer.drop(frame, link.transport)
      if isFirst { noteKeepAlive(header) }
    }
  }

  private func noteKeepAlive(_ header: PacketHeader) {
    guard header.program == Program.keepAlive, header.kind == .message,
      header.version == Program.version
    else { return }
    knowsKeepAlive = true
    if header.procedure == KeepAliveProcedure.ping {
      reply(Packets.keepAlive(KeepAliveProcedure.pong))
    }
  }

  /// Discards all data and releases every segment.
  public func clear() {
    link.clear()
  }
}
