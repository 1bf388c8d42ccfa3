// Rate limits of streams.

/// A rate limit that one or more streams share. A sender books a time slot before it sends. Slots are given in the
/// order of the requests, so no sender starves. A sender that wakes late finds its next slot in the past and catches
/// up.
public final class Meter {
  /// How late a sender may be without losing any of the rate, in seconds. Rate unused for longer is lost.
  static let slackSeconds = 0.1

  /// Bytes per second; 0: no limit.
  public private(set) var rate: Double
  /// When the last booked slot ends, in seconds on the relay's clock.
  private var bookedUntil = -Double.infinity
  /// Counts changes of the rate. Slots booked before a change are void.
  private(set) var generation: UInt32 = 0
  /// Bytes booked in total: sent, or about to be sent.
  public private(set) var booked: UInt64 = 0

  public init(rate: Int = 0) { self.rate = Double(max(0, rate)) }

  /// Sets the rate in bytes per second. It also applies to senders that are already waiting.
  public func change(rate: Int) {
    self.rate = Double(max(0, rate))
    bookedUntil = -.infinity
    generation &+= 1
  }

  /// Books a slot for this many bytes. Returns the time from which they may be sent.
  func book(_ bytes: Int, at now: Double) -> Double {
    booked &+= UInt64(clamping: bytes)
    guard rate > 0 else { return now }
    let start = bookedUntil < now - Meter.slackSeconds ? now : bookedUntil
    bookedUntil = start + Double(bytes) / rate
    return start
  }
}

/// The rate limits of one send queue. The queue books the bytes at its front, waits for the slot, and sends them.
final class Metering {
  /// How much the queue books at a time, in seconds of the rate. A wakeup for each small packet would cost too much,
  /// and no timer is finer.
  private static let batchSeconds = 0.002

  let meters: [Meter]
  /// Bytes booked and not sent yet. Negative after a packet that was longer than its booking.
  private(set) var allowed = 0
  /// When the booked bytes may be sent.
  private(set) var goesAt = -Double.infinity
  private var generation: UInt32 = 0

  init(_ meters: [Meter]) { self.meters = meters }

  /// The number of bytes to book at a time.
  var batch: Int {
    let least = meters.reduce(Double.infinity) { $1.rate > 0 ? min($0, $1.rate) : $0 }
    return least.isFinite ? Int(least * Metering.batchSeconds) : .max
  }

  /// Whether the queue may send at `now`. Books `bytes` if no booking is left.
  func mayGo(_ bytes: Int, at now: Double) -> Bool {
    let generation = meters.reduce(0) { $0 &+ $1.generation }
    if generation != self.generation {
      self.generation = generation
      if goesAt > now { allowed = min(0, allowed) }
    }
    if allowed <= 0 {
      let due = max(1, bytes - allowed)
      goesAt = meters.reduce(now) { max($0, $1.book(due, at: now)) }
      allowed += due
    }
    return goesAt <= now
  }

  func sent(_ count: Int) { allowed -= count }
}
