// Counters of one relay, for metrics.

/// Packets routed since the relay was created. "Up" is from the client to its daemons.
public struct Counters: Equatable, Sendable {
  public var packetsUp: UInt64 = 0
  public var packetsDown: UInt64 = 0
  public var calls: UInt64 = 0
  public var replies: UInt64 = 0
  public var events: UInt64 = 0
  public var streams: UInt64 = 0
  /// Packets without a receiver: packets of ended streams, and packets of unknown kinds.
  public var dropped: UInt64 = 0

  public init() {}
}
