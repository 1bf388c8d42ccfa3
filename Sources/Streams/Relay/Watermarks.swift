// The bounds of flow control.

/// How much data may be queued, in bytes, in each direction.
public struct Watermarks: Sendable, Equatable {
  /// The high watermark: a source is paused while more than this is queued for its destination.
  public var high: Int
  /// The low watermark: below it a paused source is read again.
  public var low: Int { high / 2 }
  /// What is received ahead from a client whose calls are held back, so that its PINGs are seen.
  public var ahead: Int
  /// The broker's own packets to one peer. A client that does not read its PONGs is not read either.
  public var own: Int
  /// Open streams of one client. libvirt has no such limit, but each stream costs a daemon and the broker memory.
  public static let streams = 1024

  public init(high: Int = 512 * 1024, ahead: Int = 512 * 1024, own: Int = 64 * 1024) {
    self.high = high
    self.ahead = ahead
    self.own = own
  }

  /// Whether a queue with this many bytes pauses its source. Between the watermarks nothing changes.
  func isExceeded(by bytes: Int, wasExceeded: Bool) -> Bool { bytes > (wasExceeded ? low : high) }
}
