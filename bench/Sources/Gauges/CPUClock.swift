// How much processor time a process has used.
public import Glibc

/// The processor time of a process and its children that still live, in nanoseconds' precision.
///
/// Children count because some relays fork for each connection. What a process used is read from
/// its CPU clock, which includes threads that have ended. Take one while all connections are
/// open, work, and take another: a child that ended in between would be missed.
public struct CPUClock: Sendable {
  private let seconds: [pid_t: Double]

  /// Reads the clocks of `process` and its descendants; nil if there is no such process.
  public init?(of process: pid_t) {
    guard let own = Self.seconds(of: process) else { return nil }
    var seconds = [process: own]
    for child in ProcessTree.members(from: process).dropFirst() {
      seconds[child] = Self.seconds(of: child)
    }
    self.seconds = seconds
  }

  /// Seconds of processor time that were used since `earlier`.
  public func since(_ earlier: CPUClock) -> Double {
    seconds.reduce(0) { $0 + $1.value - (earlier.seconds[$1.key] ?? 0) }
  }

  private static func seconds(of process: pid_t) -> Double? {
    var clock = clockid_t()
    var time = timespec()
    // The kernel packs the number into a clock's name without a check: 4194304 is its largest.
    guard (1...4_194_304).contains(process), clock_getcpuclockid(process, &clock) == 0,
      clock_gettime(clock, &time) == 0
    else {
      return nil
    }
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
