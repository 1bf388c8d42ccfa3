// The decisions that the relay leaves to its owner.

/// Answers calls for the broker itself, and decides routes. From within these functions the owner may call only
/// `resume`, `reply` and `remove` of the relay. It carries out other decisions after the relay's turn.
public protocol RelayOwner: RelayObserver {
  /// Offers a call that may be for the broker itself, with its whole body. True: the owner answers it with `reply`, and
  /// the relay routes no packet of the client before `resume`. False: the relay routes the call.
  func takes(_ call: PacketHeader, body: [UInt8]) -> Bool
  /// The upstream for a driver's calls, or the error that the client receives instead. Nil: not known yet; the relay
  /// routes no packet of the client before `provide`.
  func route(to driver: Driver) -> Result<Route, RemoteError>?
  /// The reply to a call of the broker's own on an upstream.
  func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8])
  /// The client follows the life cycles of these objects from now on. The owner lists them (`Relay.surveyed`).
  func upstream(_ slot: Int, isToSurvey objects: ObjectKind)
  /// An upstream connection has ended. It keeps its slot until the owner calls `remove(upstream:telling:closedEvent:)`.
  func upstream(_ slot: Int, ended reason: LinkEnd)
}

extension RelayOwner {
  public func upstream(_ slot: Int, isToSurvey objects: ObjectKind) {}
}
