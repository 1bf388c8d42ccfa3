// How much processor time a process has used.
public import Glibc

/// The processor time of a process and its children, in nanoseconds' precision for those that live.
///
/// Children count because some relays fork for each connection. What a process used is read from
/// its CPU clock, which includes threads that have ended. Take one while all connections are
/// open, work, and take another; of a child that ended in between, the kernel's count for its
/// parent is taken, which goes in hundredths of a second, and only once the parent has waited.
public struct CPUClock: Sendable {
  private let seconds: [pid_t: Double]
  /// Of the children `process` has waited for.
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

  /// Seconds of processor time that were used since `earlier`.
  public func since(_ earlier: CPUClock) -> Double {
    let alive = seconds.reduce(0) { $0 + $1.value - (earlier.seconds[$1.key] ?? 0) }
    // What the dead had used before is in the count of the buried, once they are.
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
    // The name is in parentheses and may hold anything; after it come the state and then numbers,
    // of which cutime and cstime are the fourteenth and fifteenth.
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
    // The kernel packs the number into a clock's name without a check: 4194304 is its largest.
    guard (1...4_194_304).contains(process), clock_getcpuclockid(process, &clock) == 0,
      clock_gettime(clock, &time) == 0
    else {
      return nil
    }
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
