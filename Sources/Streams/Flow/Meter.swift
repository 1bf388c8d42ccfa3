// Rates that streams are kept to.

/// A rate that one stream or several share. Whoever wants to send books its place behind those who did so
/// before: places are given in the order they were asked for, so nobody is passed over, and a sender that
/// wakes a little late finds the place of its next packet in the past and catches up.
public final class Meter {
  /// How late a sender may be without losing any of the rate, in seconds. Nothing is saved up for longer.
  static let slackSeconds = 0.1

  /// Bytes a second; 0: as many as one likes.
  public private(set) var rate: Double
  /// Where the places end that are taken, in seconds on the relay's clock.
  private var bookedUntil = -Double.infinity
  /// Counts the changes of the rate: places booked before mean nothing any more.
  private(set) var generation: UInt32 = 0
  /// Bytes that were booked, which is what has gone or is about to.
  public private(set) var booked: UInt64 = 0

  public init(rate: Int = 0) { self.rate = Double(max(0, rate)) }

  /// From now on it is this many bytes a second, for those who wait as well.
  public func change(rate: Int) {
    self.rate = Double(max(0, rate))
    bookedUntil = -.infinity
    generation &+= 1
  }

  /// Books a place for this many bytes. When they may go.
  func book(_ bytes: Int, at now: Double) -> Double {
    booked &+= UInt64(clamping: bytes)
    guard rate > 0 else { return now }
    let start = bookedUntil < now - Meter.slackSeconds ? now : bookedUntil
    bookedUntil = start + Double(bytes) / rate
    return start
  }
}

/// What one queue is kept to: it pays for what is at its front, waits for its place, and sends.
final class Metering {
  /// How much is paid for at a time, in seconds of the rate: waking up for each small packet would cost more
  /// than it is worth, and no timer is finer.
  private static let batchSeconds = 0.002

  let meters: [Meter]
  /// Bytes that were paid for and have not gone. Less than none where a packet was longer than that.
  private(set) var allowed = 0
  /// From when on they may go.
  private(set) var goesAt = -Double.infinity
  private var generation: UInt32 = 0

  init(_ meters: [Meter]) { self.meters = meters }

  /// Bytes worth paying for together.
  var batch: Int {
    let least = meters.reduce(Double.infinity) { $1.rate > 0 ? min($0, $1.rate) : $0 }
    return least.isFinite ? Int(least * Metering.batchSeconds) : .max
  }

  /// Whether it may send at `now`. Pays for `bytes` where nothing is paid for.
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
