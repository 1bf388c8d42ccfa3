// One line of the log, as libvirt writes it: `2026-11-21 10:00:00.123+0000: 1234: info : message`.
import Broker
@preconcurrency import Glibc

enum LogLine {
  /// Limit of a message in bytes. With its prefix a line then fits into the 4096 bytes that a pipe accepts atomically.
  static let mostMessageBytes = 3900

  /// The line for `message`, with the current time and this process's ID.
  static func text(_ level: BrokerLog.Level, _ message: String) -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return text(level, message, at: now, process: getpid())
  }

  static func text(
    _ level: BrokerLog.Level, _ message: String, at moment: timespec, process: pid_t
  ) -> String {
    var seconds = moment.tv_sec
    var day = tm()
    gmtime_r(&seconds, &day)
    let date = "\(day.tm_year + 1900)-\(padded(day.tm_mon + 1, 2))-\(padded(day.tm_mday, 2))"
    let time = "\(padded(day.tm_hour, 2)):\(padded(day.tm_min, 2)):\(padded(day.tm_sec, 2))"
    let milliseconds = padded(CInt(truncatingIfNeeded: moment.tv_nsec / 1_000_000), 3)
    return "\(date) \(time).\(milliseconds)+0000: \(process): \(level.name) : \(message)\n"
  }

  /// Writes the whole text and waits for the descriptor as long as necessary. Returns false on an error.
  @discardableResult
  static func write(_ text: String, to descriptor: CInt) -> Bool {
    var text = text
    return text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        if count < 0 && errno == EAGAIN {
          // Another process that shares the descriptor has made it non-blocking.
          var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = poll(&room, 1, -1)
          continue
        }
        guard count > 0 else { return false }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
      return true
    }
  }

  private static func padded(_ number: CInt, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}
