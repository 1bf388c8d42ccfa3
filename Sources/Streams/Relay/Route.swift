// The route for the calls of a driver.

/// The upstream that serves a driver.
public struct Route: Equatable, Sendable {
  /// The upstream's slot.
  public var slot: Int
  /// The route is valid as long as the upstream exists. Otherwise the relay asks the owner again for the next call,
  /// because a missing daemon may have started.
  public var isLasting: Bool

  public init(slot: Int, isLasting: Bool) {
    self.slot = slot
    self.isLasting = isLasting
  }
}
