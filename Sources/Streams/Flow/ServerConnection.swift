// A connection whose every call is answered on the spot: the admin socket's.

/// Who answers the calls of a server connection.
public protocol ServerConnectionOwner: AnyObject {
  /// Answers with `reply`, now. The body is what follows the header, without a count of descriptors.
  func answer(_ call: PacketHeader, body: [UInt8])
}

/// Calls in, replies out, in order, over the same receive buffer and scheduler that a relay has. A peer that does not read
/// its replies is not read either.
public final class ServerConnection {
  /// Calls are small; of a larger one no more than this is kept, and the rest is dropped.
  public static let largestCall = 256 * 1024
  /// Replies that may wait before nothing more is read, in bytes.
  private static let mark = 64 * 1024
  private static let readsPerTurn = 4

  private let link: Link
  /// A call that is too large to be kept: its header and the beginning of its body.
  private var largeCall: (header: PacketHeader, body: [UInt8])?
  private unowned(unsafe) let owner: any ServerConnectionOwner
  /// Nothing more is read: what waits goes out, and then the owner ends it.
  public var isLeaving = false
  /// The peer speaks keepalive, so it knows what a PING is.
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

  /// Queues a packet; `settle` sends it.
  public func reply(_ packet: [UInt8]) {
    packet.withUnsafeBytes { link.own.queue.append(copying: $0) }
  }

  /// Sends what can be sent, and goes on with calls that waited for that. To be called after each change from
  /// outside.
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

  /// What the socket is to be watched for. A function of the state alone.
  public var interest: Interest {
    guard link.end == nil else { return [] }
    var interest: Interest = mayRead ? .read : []
    if link.scheduler.isBlocked, link.scheduler.hasWork {
      interest.formUnion(link.scheduler.blockedOn)
    }
    return interest
  }

  /// Why the connection is over, once it is.
  public var end: LinkEnd? { link.end }
  /// Bytes that wait for the peer.
  public var waiting: Int { link.own.queue.bytes }

  /// Answers the calls that are there, as long as that may go on. True if there was anything.
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
      // The scanner has seen to it that there is a count, and that it is none.
      let start = header.kind == .call ? Limits.header : FrameScanner.sight
      let kept = isFirst ? 0 : largeCall?.body.count ?? 0
      let bytes = link.receiveBuffer.bytes(
        of: frame, from: isFirst ? start : 0, limit: ServerConnection.largestCall - kept)
      link.receiveBuffer.drop(frame, link.transport)
      if frame.part == .whole { return owner.answer(header, body: bytes) }
      if isFirst { largeCall = (header, bytes) } else { largeCall?.body += bytes }
      guard frame.part == .last, let call = largeCall else { return }
      largeCall = nil
      // libvirt's servers ignore what follows the arguments, so their end is within what was kept.
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

  /// Ends everything and releases every segment.
  public func clear() {
    link.clear()
  }
}
