// One line of the audit: a JSON object.
import Glibc

/// A record being made. Whatever its texts hold, it stays one line and valid JSON.
struct AuditRecord {
  private(set) var bytes: [UInt8] = []

  init(_ event: StaticString) {
    bytes.reserveCapacity(256)
    raw("{\"time\":\"")
    raw(AuditRecord.time())
    raw("\",\"event\":\"\(event)\"")
  }

  private mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

  private mutating func key(_ name: StaticString) { raw(",\"\(name)\":") }

  mutating func add(_ name: StaticString, _ text: String) {
    key(name)
    raw("\"")
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": raw("\\\"")
      case "\\": raw("\\\\")
      case _ where scalar.value < 32 || (scalar.value >= 127 && scalar.value < 160):
        let digits = String(scalar.value, radix: 16)
        raw("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
      default: raw(String(scalar))
      }
    }
    raw("\"")
  }

  mutating func add(_ name: StaticString, _ text: String?) {
    if let text { add(name, text) }
  }

  mutating func add(_ name: StaticString, _ number: some BinaryInteger) {
    key(name)
    raw("\(number)")
  }

  /// Seconds, to the microsecond.
  mutating func add(_ name: StaticString, seconds: Double) {
    key(name)
    let micros = UInt64(clamping: Int64(max(0, min(seconds, 1e12)) * 1e6))
    raw("\(micros / 1_000_000).\(AuditRecord.padded(micros % 1_000_000, 6))")
  }

  /// The line, with its end.
  consuming func finished() -> [UInt8] {
    var line = bytes
    line.append(contentsOf: "}\n".utf8)
    return line
  }

  /// `2026-11-21T15:04:05.123456Z`.
  private static func time() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    gmtime_r(&now.tv_sec, &parts)
    func two(_ number: Int32) -> String { padded(UInt64(clamping: number), 2) }
    return "\(Int(parts.tm_year) + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))."
      + "\(padded(UInt64(clamping: now.tv_nsec / 1000), 6))Z"
  }

  private static func padded(_ number: UInt64, _ digits: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }
}
