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

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&packetsUp)
    try coder.code(&packetsDown)
    try coder.code(&calls)
    try coder.code(&replies)
    try coder.code(&events)
    try coder.code(&streams)
    try coder.code(&dropped)
  }
}
