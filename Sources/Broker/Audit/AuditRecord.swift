// One line of the audit: a JSON object.
import Glibc

/// A record being made. Whatever its texts hold, it stays one line and valid JSON.
///
/// There may be one for every call, so it is put together as bytes, without texts in between.
struct AuditRecord {
  private(set) var bytes: [UInt8] = []

  init(_ event: StaticString) {
    bytes.reserveCapacity(384)
    raw("{\"time\":\"")
    addTime()
    raw("\",\"event\":\"")
    raw(event)
    raw("\"")
  }

  /// Fields that are the same in many records.
  init(fields: (inout AuditRecord) -> Void) { fields(&self) }

  private mutating func raw(_ text: StaticString) {
    bytes.append(
      contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  private mutating func key(_ name: StaticString) {
    raw(",\"")
    raw(name)
    raw("\":")
  }

  /// Fields made before.
  mutating func add(_ fields: AuditRecord) { bytes.append(contentsOf: fields.bytes) }

  /// A word of our own, which has nothing in it that JSON knows.
  mutating func add(_ name: StaticString, word: StaticString) {
    key(name)
    raw("\"")
    raw(word)
    raw("\"")
  }

  mutating func add(_ name: StaticString, _ text: String) {
    key(name)
    raw("\"")
    if text.utf8.allSatisfy(AuditRecord.isPlain) {
      bytes.append(contentsOf: text.utf8)
    } else {
      for scalar in text.unicodeScalars { add(scalar) }
    }
    raw("\"")
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 32 && byte < 127 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }

  private mutating func add(_ scalar: Unicode.Scalar) {
    switch scalar {
    case "\"": raw("\\\"")
    case "\\": raw("\\\\")
    case _ where scalar.value < 32 || (scalar.value >= 127 && scalar.value < 160):
      let digits = String(scalar.value, radix: 16)
      raw("\\u")
      bytes.append(contentsOf: (String(repeating: "0", count: 4 - digits.count) + digits).utf8)
    default: bytes.append(contentsOf: String(scalar).utf8)
    }
  }

  mutating func add(_ name: StaticString, _ text: String?) {
    if let text { add(name, text) }
  }

  mutating func add(_ name: StaticString, _ number: some BinaryInteger) {
    key(name)
    if let small = UInt64(exactly: number) {
      add(small, digits: 1)
    } else {
      bytes.append(contentsOf: String(number).utf8)
    }
  }

  /// Seconds, to the microsecond.
  mutating func add(_ name: StaticString, seconds: Double) {
    key(name)
    let micros = UInt64(clamping: Int64(max(0, min(seconds, 1e12)) * 1e6))
    add(micros / 1_000_000, digits: 1)
    raw(".")
    add(micros % 1_000_000, digits: 6)
  }

  /// The line, with its end.
  consuming func finished() -> [UInt8] {
    raw("}\n")
    return bytes
  }

  /// `2026-11-21T15:04:05.123456Z`.
  private mutating func addTime() {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    gmtime_r(&now.tv_sec, &parts)
    func part(_ number: Int32, _ digits: Int, _ end: StaticString) {
      add(UInt64(clamping: number), digits: digits)
      raw(end)
    }
    part(parts.tm_year &+ 1900, 4, "-")
    part(parts.tm_mon &+ 1, 2, "-")
    part(parts.tm_mday, 2, "T")
    part(parts.tm_hour, 2, ":")
    part(parts.tm_min, 2, ":")
    part(parts.tm_sec, 2, ".")
    part(Int32(clamping: now.tv_nsec / 1000), 6, "Z")
  }

  /// A number with at least so many digits.
  private mutating func add(_ number: UInt64, digits: Int) {
    let start = bytes.count
    var rest = number
    repeat {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
      rest /= 10
    } while rest > 0 || bytes.count - start < digits
    bytes[start...].reverse()
  }
}
