// One line of the log, as libvirt writes it: `2026-11-21 10:00:00.123+0000: 1234: info : message`.
import Broker
@preconcurrency import Glibc

enum LogLine {
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

  /// Writes what the kernel takes; a log that cannot be written must not stop the broker.
  static func write(_ text: String, to descriptor: CInt) {
    var text = text
    text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
    }
  }

  private static func padded(_ number: CInt, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

/// `text` on one line of visible characters: a client's words could otherwise write log lines of
/// their own, or speak to the administrator's terminal.
func printable(_ text: String) -> String {
  let isControl = { (scalar: UnicodeScalar) in
    scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
      || scalar.value == 0x2028 || scalar.value == 0x2029
  }
  guard text.unicodeScalars.contains(where: isControl) else { return text }
  var clean = ""
  for scalar in text.unicodeScalars {
    if isControl(scalar) {
      clean += "\\u{\(String(scalar.value, radix: 16))}"
    } else {
      clean.unicodeScalars.append(scalar)
    }
  }
  return clean
}
