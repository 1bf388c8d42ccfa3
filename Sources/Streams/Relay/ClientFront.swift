// What the next packet of a client waits for.

/// The state of the packet at the front of the client's receive buffer. Only one packet waits: those behind it are
/// not routed before it. The cases of a call without a route are few and large: they are boxed, so that the state itself
/// is one word, which the relay tests for each packet.
enum ClientFront {
  /// It can be routed.
  case free
  /// It follows a call that the owner has taken, and waits for `resume`.
  case awaitsOwner
  /// It is a call whose driver has no route yet, and waits for `provide`.
  indirect case awaitsRoute(Frame, Driver)
  /// It is such a call, and its route is found: the slot of its upstream, or the error that the client receives.
  indirect case hasRoute(Frame, Driver, Result<Int, RemoteError>)
  /// It is a call, and as many calls as the limit allows await their replies.
  case awaitsReply
  /// It is dropped, and so is everything behind it.
  case discarded

  var isDiscarded: Bool {
    if case .discarded = self { true } else { false }
  }

  /// It is a call that was scanned and is still in the receive buffer: where the packets behind it begin is not known.
  var isCallForRoute: Bool {
    switch self {
    case .awaitsRoute, .hasRoute: true
    case .free, .awaitsOwner, .awaitsReply, .discarded: false
    }
  }

  /// The call's driver has a route now.
  mutating func provide(_ route: Result<Int, RemoteError>) {
    switch self {
    case .awaitsRoute(let frame, let driver), .hasRoute(let frame, let driver, _):
      self = .hasRoute(frame, driver, route)
    case .free, .awaitsOwner, .awaitsReply, .discarded: break
    }
  }

  /// The driver whose route the call waits for, or has.
  var driver: Driver? {
    switch self {
    case .awaitsRoute(_, let driver), .hasRoute(_, let driver, _): driver
    case .free, .awaitsOwner, .awaitsReply, .discarded: nil
    }
  }

  /// The upstream in this slot is gone, for this reason: no call is sent to it.
  mutating func loseRoute(to slot: Int, _ error: RemoteError) {
    guard case .hasRoute(let frame, let driver, .success(slot)) = self else { return }
    self = .hasRoute(frame, driver, .failure(error))
  }
}
