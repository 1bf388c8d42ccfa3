// The audit's lines: JSON objects, assembled as bytes.
import Glibc
import Streams

/// Records under construction, one after the other. Whatever their texts contain, each stays one line and valid JSON.
///
///     0 ≤ count ≤ capacity
///
/// There may be a record for every call, so the memory grows once and is reused.
struct AuditText: ~Copyable {
  /// Memory beyond this is released when the text is cleared: a burst is over.
  private static let mostKept = 512 * 1024

  private var base: UnsafeMutablePointer<UInt8>?
  private var capacity = 0
  private(set) var count = 0

  init() {}

  deinit { base?.deallocate() }

  var isEmpty: Bool { count == 0 }
  var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: base, count: count) }

  /// Discards everything after the first `length` bytes.
  mutating func cut(to length: Int) { count = min(count, max(0, length)) }

  mutating func clear() {
    count = 0
    guard capacity > AuditText.mostKept else { return }
    base?.deallocate()
    base = nil
    capacity = 0
  }

  /// Room for the next bytes, of which there must be at most `length`. The caller counts what it has written.
  private mutating func room(_ length: Int) -> UnsafeMutablePointer<UInt8> {
    if let base, capacity - count >= length { return base + count }
    return grow(length)
  }

  /// A function of its own, so that the usual path is one comparison.
  @inline(never)
  private mutating func grow(_ length: Int) -> UnsafeMutablePointer<UInt8> {
    capacity = max(4096, 2 * (count + length))
    let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    if let base {
      larger.update(from: base, count: count)
      base.deallocate()
    }
    base = larger
    return larger + count
  }

  mutating func add(_ bytes: UnsafeBufferPointer<UInt8>) {
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
    room(bytes.count).update(from: start, count: bytes.count)
    count += bytes.count
  }

  // MARK: Fields

  mutating func raw(_ text: StaticString) {
    room(text.utf8CodeUnitCount).update(from: text.utf8Start, count: text.utf8CodeUnitCount)
    count += text.utf8CodeUnitCount
  }

  private mutating func key(_ name: StaticString) {
    let length = name.utf8CodeUnitCount
    let start = room(length + 4)
    start[0] = UInt8(ascii: ",")
    start[1] = UInt8(ascii: "\"")
    (start + 2).update(from: name.utf8Start, count: length)
    start[length + 2] = UInt8(ascii: "\"")
    start[length + 3] = UInt8(ascii: ":")
    count += length + 4
  }

  private mutating func byte(_ byte: UInt8) {
    room(1).pointee = byte
    count += 1
  }

  /// Adds fields that were built before.
  mutating func add(_ fields: [UInt8]) { fields.withUnsafeBufferPointer { add($0) } }

  /// Adds a word of our own, which has no characters that JSON escapes.
  mutating func add(_ name: StaticString, word: StaticString) {
    key(name)
    let length = word.utf8CodeUnitCount
    let start = room(length + 2)
    start[0] = UInt8(ascii: "\"")
    (start + 1).update(from: word.utf8Start, count: length)
    start[length + 1] = UInt8(ascii: "\"")
    count += length + 2
  }

  mutating func add(_ name: StaticString, _ text: String) {
    key(name)
    byte(UInt8(ascii: "\""))
    for scalar in text.unicodeScalars { add(scalar) }
    byte(UInt8(ascii: "\""))
  }

  private mutating func add(_ scalar: Unicode.Scalar) {
    switch scalar {
    case "\"": raw("\\\"")
    case "\\": raw("\\\\")
    case _ where scalar.isPlain:
      for unit in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { byte(unit) }
    default:
      for unit in UTF16.encode(scalar) ?? UTF16.encodedReplacementCharacter { escape(unit) }
    }
  }

  /// `\u` and four digits.
  private mutating func escape(_ unit: UInt16) {
    raw("\\u")
    for shift in [12, 8, 4, 0] {
      let digit = UInt8(truncatingIfNeeded: (unit >> UInt16(shift)) & 15)
      byte(digit + UInt8(ascii: digit < 10 ? "0" : "W"))
    }
  }

  mutating func add(_ name: StaticString, _ text: String?) {
    if let text { add(name, text) }
  }

  mutating func add(_ name: StaticString, _ number: some FixedWidthInteger) {
    key(name)
    if number < 0 { byte(UInt8(ascii: "-")) }
    add(UInt64(clamping: number.magnitude), digits: 1)
  }

  /// Seconds, to the microsecond.
  mutating func add(_ name: StaticString, seconds: Double) {
    key(name)
    let micros = UInt64(max(0, min(seconds, 1e12)) * 1e6)
    add(micros / 1_000_000, digits: 1)
    byte(UInt8(ascii: "."))
    add(micros % 1_000_000, digits: 6)
  }

  /// A number with at least so many digits.
  mutating func add(_ number: UInt64, digits: Int) {
    var length = 1
    var rest = number
    while rest >= 10 {
      rest /= 10
      length += 1
    }
    length = max(length, digits)
    let start = room(length)
    rest = number
    for place in stride(from: length - 1, through: 0, by: -1) {
      start[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
    count += length
  }
}

/// The beginning of every record. Records of one turn of the loop have the same time, so the clock is read and
/// formatted once for all of them.
struct AuditBeginning: ~Copyable {
  private var text = AuditText()
  private var turn: UInt64?
  private var second = -1
  /// Offset of the fraction of the second.
  private var fraction = 0

  var bytes: UnsafeBufferPointer<UInt8> { text.bytes }

  /// `{"time":"2026-11-21T15:04:05.123456Z","event":"`
  mutating func renew(in turn: UInt64) {
    guard self.turn != turn else { return }
    self.turn = turn
    let now = Clock.wall.parts
    if now.seconds != second { begin(now.seconds) }
    text.cut(to: fraction)
    text.add(UInt64(clamping: now.nanoseconds / 1000), digits: 6)
    text.raw("Z\",\"event\":\"")
  }

  private mutating func begin(_ second: Int) {
    self.second = second
    var time = second
    var parts = tm()
    gmtime_r(&time, &parts)
    text.clear()
    text.raw("{\"time\":\"")
    func part(_ number: Int32, _ digits: Int, _ end: StaticString, _ text: inout AuditText) {
      text.add(UInt64(clamping: number), digits: digits)
      text.raw(end)
    }
    part(parts.tm_year &+ 1900, 4, "-", &text)
    part(parts.tm_mon &+ 1, 2, "-", &text)
    part(parts.tm_mday, 2, "T", &text)
    part(parts.tm_hour, 2, ":", &text)
    part(parts.tm_min, 2, ":", &text)
    part(parts.tm_sec, 2, ".", &text)
    fraction = text.count
  }
}
