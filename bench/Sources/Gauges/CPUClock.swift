// The processor time of a process.
public import Glibc

/// The processor time of a process and its children, in nanoseconds for those that still run.
///
/// Children count because some relays fork for each connection. The time of a process comes from its CPU clock, which
/// includes threads that have ended. Take one reading while all connections are open, run the load, and take another.
/// For a child that ended in between, the time comes from the kernel's count for its parent, which is in hundredths
/// of a second and includes a child only after the parent has waited for it.
public struct CPUClock: Sendable {
  private let seconds: [pid_t: Double]
  /// The time of children for which `process` has waited.
  private let buried: Double

  /// Reads the clocks of `process` and its descendants; nil if there is no such process.
  public init?(of process: pid_t) {
    guard let own = Self.seconds(of: process) else { return nil }
    var seconds = [process: own]
    for child in ProcessTree.members(from: process).dropFirst() {
      seconds[child] = Self.seconds(of: child)
    }
    self.seconds = seconds
    buried = Self.buriedSeconds(of: process)
  }

  /// Seconds of processor time used since `earlier`.
  public func since(_ earlier: CPUClock) -> Double {
    let alive = seconds.reduce(0) { $0 + $1.value - (earlier.seconds[$1.key] ?? 0) }
    // The earlier time of children that have ended is in their parent's count, once it has waited for them.
    let before = earlier.seconds.reduce(0) { seconds[$1.key] == nil ? $0 + $1.value : $0 }
    return alive + max(0, buried - earlier.buried - before)
  }

  private static func buriedSeconds(of process: pid_t) -> Double {
    guard let file = fopen("/proc/\(process)/stat", "r") else { return 0 }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var room = 0
    defer { free(line) }
    guard getline(&line, &room, file) > 0, let line else { return 0 }
    // The name is in parentheses and may contain anything. The state and then numbers follow; cutime and cstime are
    // the fourteenth and fifteenth.
    let fields = String(cString: line).split(separator: ")").last?.split(separator: " ") ?? []
    let ticks = sysconf(Int32(_SC_CLK_TCK))
    guard fields.count > 14, let user = Double(fields[13]), let system = Double(fields[14]),
      ticks > 0
    else { return 0 }
    return (user + system) / Double(ticks)
  }

  private static func seconds(of process: pid_t) -> Double? {
    var clock = clockid_t()
    var time = timespec()
    // The kernel encodes the process ID in the clock's ID without a check: 4194304 is its largest.
    guard (1...4_194_304).contains(process), clock_getcpuclockid(process, &clock) == 0,
      clock_gettime(clock, &time) == 0
    else {
      return nil
    }
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
