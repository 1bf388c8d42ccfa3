// The process metrics of Prometheus's client libraries, under the same names.
import Glibc

enum ProcessMetrics {
  static func describe(_ text: inout MetricsText) {
    var usage = rusage()
    if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
      text.processFamily("cpu_seconds_total", .counter, "Processor time of the process.")
      text.sample([], seconds(usage.ru_utime) + seconds(usage.ru_stime))
    }
    let pages = words(of: "/proc/self/statm").prefix(2).compactMap { UInt64($0) }
    let page = UInt64(clamping: sysconf(Int32(_SC_PAGESIZE)))
    if pages.count == 2 {
      text.processFamily("virtual_memory_bytes", .gauge, "Address space of the process.")
      text.sample(pages[0] &* page)
      text.processFamily("resident_memory_bytes", .gauge, "Memory of the process that is resident.")
      text.sample(pages[1] &* page)
    }
    if let startTime {
      text.processFamily(
        "start_time_seconds", .gauge, "When the process started, in seconds since 1970.")
      text.sample([], startTime)
    }
    if let count = descriptorCount {
      text.processFamily("open_fds", .gauge, "Open descriptors of the process.")
      text.sample(count)
    }
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      text.processFamily("max_fds", .gauge, "Descriptors that the process may have.")
      text.sample(UInt64(limit.rlim_cur))
    }
  }

  private static func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) / 1e6
  }

  /// Read once, so that changes of the clock do not change it.
  private static let startTime: Double? = {
    // The program's name is in parentheses, and may contain blanks.
    let fields = (text(of: "/proc/self/stat").split(separator: ")").last ?? "").split(
      separator: " ")
    guard fields.count > 19, let ticks = Double(fields[19]) else { return nil }
    let booted = Clock.wall.seconds - Clock.sinceBoot.seconds
    return ((booted + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))) * 100).rounded() / 100
  }()

  /// The kernel's count if it has one. Nil: only root could count, and the process is not root any more.
  private static var descriptorCount: UInt64? {
    var status = stat()
    if stat("/proc/self/fd", &status) == 0, status.st_size > 0 { return UInt64(status.st_size) }
    guard let directory = opendir("/proc/self/fd") else { return nil }
    defer { closedir(directory) }
    var count: UInt64 = 0
    while readdir(directory) != nil { count += 1 }
    // Without the directory's own descriptor, and the entries `.` and `..`.
    return count > 3 ? count - 3 : 0
  }

  private static func words(of path: String) -> [Substring] { text(of: path).split(separator: " ") }

  private static func text(of path: String) -> String {
    let file = Descriptor(open(path, O_RDONLY | O_CLOEXEC))
    guard file.number >= 0 else { return "" }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(file.number, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }
}
