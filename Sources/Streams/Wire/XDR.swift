// Reads and writes XDR, for the few bodies that the broker reads or writes itself.

/// Reads XDR values one after the other from bytes that a peer sent.
///
/// Every read is checked against the remaining bytes, so any input gives a value or a `Violation`, never a trap. The
/// reader borrows the bytes: its creator keeps them in place while the reader is in use. After a `Violation` the
/// position is unspecified, and the reader must not be used.
public struct XDRReader {
  private let bytes: UnsafeRawBufferPointer
  /// The next byte to read: 0 ≤ offset ≤ bytes.count.
  private var offset = 0

  public init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
  }

  /// Bytes not read yet. libvirt ignores bytes behind a decoded body, so remaining bytes are not an error.
  public var remaining: Int { bytes.count - offset }

  /// The next `count` bytes without padding, valid as long as the bytes that the reader was created with.
  public mutating func fixed(_ count: Int) throws(Violation) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else {
      throw Violation(.bodyTooShort, [remaining, count])
    }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
  }

  public mutating func uint32() throws(Violation) -> UInt32 {
    UInt32(bigEndian: try fixed(4).loadUnaligned(as: UInt32.self))
  }

  public mutating func int32() throws(Violation) -> Int32 {
    Int32(bitPattern: try uint32())
  }

  public mutating func uint64() throws(Violation) -> UInt64 {
    UInt64(bigEndian: try fixed(8).loadUnaligned(as: UInt64.self))
  }

  public mutating func int64() throws(Violation) -> Int64 {
    Int64(bitPattern: try uint64())
  }

  /// An IEEE double, bit for bit: a NaN keeps its payload.
  public mutating func double() throws(Violation) -> Double {
    Double(bitPattern: try uint64())
  }

  /// Bytes of variable length, at most `limit`, valid as long as the bytes that the reader was created with.
  ///
  /// The padding must exist. Its content is ignored, as in libvirt.
  public mutating func opaque(limit: Int) throws(Violation) -> UnsafeRawBufferPointer {
    let count = Int(try uint32())
    guard count <= limit else { throw Violation(.tooManyBytes, [count, limit]) }
    let value = try fixed(count)
    _ = try fixed(XDRWriter.padding(after: count))
    return value
  }

  /// A string of at most `limit` bytes, both as received and as returned.
  ///
  /// The protocol does not guarantee UTF-8. Invalid bytes become U+FFFD, which is longer, so the result is checked
  /// against the limit again. The string ends before its first NUL, as in libvirt, which reads the same bytes as a C
  /// string. Otherwise an allow-list would check another name than the backend opens.
  public mutating func string(limit: Int = Limits.string) throws(Violation) -> String {
    let value = String(decoding: try opaque(limit: limit).prefix { $0 != 0 }, as: UTF8.self)
    guard value.utf8.count <= limit else {
      throw Violation(.repairedStringTooLong, [limit])
    }
    return value
  }

  /// A value that may be absent. Any word except 0 announces it, as in libvirt.
  public mutating func optional<Value>(
    _ read: (inout XDRReader) throws(Violation) -> Value
  ) throws(Violation) -> Value? {
    try uint32() == 0 ? nil : try read(&self)
  }

  /// A counted array of at most `limit` values.
  public mutating func array<Value>(
    limit: Int, _ read: (inout XDRReader) throws(Violation) -> Value
  ) throws(Violation) -> [Value] {
    let count = Int(try uint32())
    guard count <= limit else { throw Violation(.tooManyElements, [count, limit]) }
    var values: [Value] = []
    // No element is shorter than a word, so an impossible count does not reserve memory for itself.
    values.reserveCapacity(min(count, remaining / 4))
    for _ in 0..<count { values.append(try read(&self)) }
    return values
  }
}

/// Appends XDR values to `bytes`.
///
/// It does not check values: the caller keeps the limits of the protocol.
public struct XDRWriter {
  public private(set) var bytes: [UInt8]

  /// Starts with `reserved` zero bytes, for a header that the caller writes when the length is known.
  public init(reserved: Int = 0) {
    bytes = Array(repeating: 0, count: reserved)
  }

  /// The zero bytes that follow `count` bytes of variable length up to the next multiple of four.
  static func padding(after count: Int) -> Int { -count & 3 }

  public mutating func uint32(_ value: UInt32) {
    withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
  }

  public mutating func int32(_ value: Int32) {
    uint32(UInt32(bitPattern: value))
  }

  public mutating func uint64(_ value: UInt64) {
    withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
  }

  public mutating func int64(_ value: Int64) {
    uint64(UInt64(bitPattern: value))
  }

  public mutating func double(_ value: Double) {
    uint64(value.bitPattern)
  }

  /// Bytes of variable length with their count and padding. A count beyond 32 bits is clamped.
  public mutating func opaque(_ value: some Collection<UInt8>) {
    uint32(UInt32(clamping: value.count))
    bytes.append(contentsOf: value)
    bytes.append(contentsOf: repeatElement(0, count: Self.padding(after: value.count)))
  }

  public mutating func string(_ value: String) {
    opaque(value.utf8)
  }

  /// Appends encoded words.
  mutating func append(_ words: [UInt8]) {
    bytes.append(contentsOf: words)
  }

  /// A value that may be absent.
  public mutating func optional<Value>(
    _ value: Value?, _ write: (inout XDRWriter, Value) -> Void
  ) {
    guard let value else { return uint32(0) }
    uint32(1)
    write(&self, value)
  }

  /// An array with its count.
  public mutating func array<Value>(
    _ values: [Value], _ write: (inout XDRWriter, Value) -> Void
  ) {
    uint32(UInt32(clamping: values.count))
    for value in values { write(&self, value) }
  }

  /// Calls `write` with all bytes, the reserved ones included, for changes in place.
  mutating func patch(_ write: (UnsafeMutableRawBufferPointer) -> Void) {
    bytes.withUnsafeMutableBytes { write($0) }
  }
}
