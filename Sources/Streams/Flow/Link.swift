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
  var inlet: Inlet
  var outlet: Outlet
  /// For packets the broker makes itself.
  let own: Lane
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
    inlet = Inlet(
      pool: pool, scanner: scanner, largestWhole: largestWhole,
      allowsStray: announcing == .replyWithDescriptors)
    outlet = Outlet(pool: pool)
    own = Lane(pool: pool)
    outlet.add(own)
  }

  /// One read. False if there was nothing, or the connection is over.
  func receive() -> Bool {
    switch inlet.receive(from: transport) {
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
    guard end == nil, sendFailure == nil, outlet.hasWork, !outlet.isBlocked else { return }
    switch outlet.flush(to: transport, at: now) {
    case .moved(let count): sent &+= UInt64(count)
    case .blocked: break
    case .end: sendFailure = .closed
    case .failed(let number): sendFailure = .failed(number)
    }
  }

  /// Forgets all that came in or waits to go out.
  func clear() {
    inlet.clear(transport)
    for lane in outlet.lanes { outlet.remove(lane, transport) }
  }
}
