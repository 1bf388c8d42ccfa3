// One line of the log, as libvirt writes it: `2026-11-21 10:00:00.123+0000: 1234: info : message`.
import Broker
@preconcurrency import Glibc

enum LogLine {
  /// Bytes of a message. With what stands before it a line then fits into the 4096 bytes that a pipe takes as a whole.
  static let mostMessageBytes = 3900

  /// The line for `message`, with this moment and this process.
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

  /// Writes all of it, as slowly as the descriptor takes it. False where that fails.
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
