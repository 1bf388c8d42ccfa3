// Where the calls of a driver go.

/// The upstream that serves a driver.
public struct Route: Equatable, Sendable {
  /// The upstream's slot.
  public var slot: Int
  /// Valid as long as that upstream lives. Otherwise the relay asks the owner again for the next call, because a
  /// daemon that was missing may have started.
  public var isLasting: Bool

  public init(slot: Int, isLasting: Bool) {
    self.slot = slot
    self.isLasting = isLasting
  }
}
