// Counters of one relay, for metrics.

/// Packets that have passed since the relay was made. "Up" is from the client to its daemons.
public struct Counters: Equatable, Sendable {
  public var packetsUp: UInt64 = 0
  public var packetsDown: UInt64 = 0
  public var calls: UInt64 = 0
  public var replies: UInt64 = 0
  public var events: UInt64 = 0
  public var streams: UInt64 = 0
  /// Packets without a receiver: of streams that have ended, of kinds that nothing handles.
  public var dropped: UInt64 = 0

  public init() {}
}
