// The watermarks of flow control.

/// Thresholds of the data queued in each direction, in bytes.
public struct Watermarks: Sendable, Equatable {
  /// The high watermark: a source is paused while more than this is queued for its destination.
  public var high: Int
  /// The low watermark: a paused source is read again when no more than this is queued.
  public var low: Int { high / 2 }
  /// Bytes that the broker still receives from a client whose packets are held back, so that it sees the PINGs.
  public var ahead: Int
  /// The high watermark of the broker's own packets to one peer. A client that does not read its PONGs is not read.
  public var own: Int
  /// The most open streams of one client. libvirt has no such limit, but each stream costs a daemon and the broker
  /// memory.
  public static let streams = 1024

  /// The smallest payload of a client's stream packet that goes through a pipe in the kernel, where there is one, in
  /// bytes. In C prototypes, relay and ends on a processor each, with 65,536 bytes the rate was 1.37 to 1.62 times that
  /// of copying and the processor time 0.41 to 0.49; with 8,192 bytes the processor time was 1.31.
  public var splicedPayload: Int

  public init(
    high: Int = 512 * 1024, ahead: Int = 512 * 1024, own: Int = 64 * 1024,
    splicedPayload: Int = 64 * 1024
  ) {
    self.splicedPayload = splicedPayload
    self.high = high
    self.ahead = ahead
    self.own = own
  }

  /// Whether a queue with this many bytes pauses its source. Between the watermarks nothing changes.
  func isExceeded(by bytes: Int, wasExceeded: Bool) -> Bool { bytes > (wasExceeded ? low : high) }
}
