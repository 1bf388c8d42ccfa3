// The state of the packet at the front of a client's receive buffer.

/// The state of the packet at the front of the client's receive buffer, and what the packet waits for. The packets
/// behind it are not routed before it. The cases of a call for a route are rare and large. They are boxed, so that the
/// state is one word, because the relay tests it for each packet.
enum ClientFront {
  /// It can be routed.
  case free
  /// It follows a call that the owner has taken, and waits for `resume`.
  case awaitsOwner
  /// It is a call whose driver has no route yet. It waits for `provide`.
  indirect case awaitsRoute(Frame, Driver)
  /// It is a call whose route was provided: the slot of its upstream, or the error that the client receives.
  indirect case hasRoute(Frame, Driver, Result<Int, RemoteError>)
  /// It is a call, and the number of calls that await their replies has reached the limit.
  case awaitsReply
  /// It is dropped, and so is everything behind it.
  case discarded

  var isDiscarded: Bool {
    if case .discarded = self { true } else { false }
  }

  /// It is a call that was scanned and is still in the receive buffer. The start of the packet behind it is not known.
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

  /// The upstream in this slot was removed. A call that has a route to it gets `error` instead.
  mutating func loseRoute(to slot: Int, _ error: RemoteError) {
    guard case .hasRoute(let frame, let driver, .success(slot)) = self else { return }
    self = .hasRoute(frame, driver, .failure(error))
  }
}
