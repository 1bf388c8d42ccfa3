// A cursor for the few bodies the broker reads or writes itself.

/// Reads XDR values one after the other from bytes that a peer sent.
///
/// Every read is checked against the bytes that are left, so any input ends in a value or in a `Violation`
/// and never in a trap. The reader borrows the bytes: whoever makes one keeps them in place while it is used.
/// After a `Violation` the position is unspecified and the reader is of no further use.
public struct XDRReader {
  private let bytes: UnsafeRawBufferPointer
  /// The next byte to read: 0 ≤ offset ≤ bytes.count.
  private var offset = 0

  public init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
  }

  /// Bytes not read yet. libvirt ignores what follows a decoded body, so more than none is no error.
  public var remaining: Int { bytes.count - offset }

  /// The next `count` bytes without padding, valid as long as the bytes the reader was made of.
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

  /// Bytes of variable length, at most `limit` of them, valid as long as the bytes the reader was made of.
  ///
  /// The padding must be there; what it holds is not looked at, as in libvirt.
  public mutating func opaque(limit: Int) throws(Violation) -> UnsafeRawBufferPointer {
    let count = Int(try uint32())
    guard count <= limit else { throw Violation(.tooManyBytes, [count, limit]) }
    let value = try fixed(count)
    _ = try fixed(XDRWriter.padding(after: count))
    return value
  }

  /// A string of at most `limit` bytes, both as it came and as it is returned.
  ///
  /// Nothing in the protocol promises UTF-8: what is not becomes U+FFFD, which is longer, hence the second half of
  /// the limit. The string ends before its first NUL, because that is where libvirt, reading the same bytes in C,
  /// sees it end: an allow-list that looked further would judge another name than the backend opens.
  public mutating func string(limit: Int = Limits.string) throws(Violation) -> String {
    let value = String(decoding: try opaque(limit: limit).prefix { $0 != 0 }, as: UTF8.self)
    guard value.utf8.count <= limit else {
      throw Violation(.repairedStringTooLong, [limit])
    }
    return value
  }

  /// A value that may be absent. Any word but 0 announces it, as in libvirt.
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
    // No element is shorter than a word, so a count that cannot be true reserves nothing for itself.
    values.reserveCapacity(min(count, remaining / 4))
    for _ in 0..<count { values.append(try read(&self)) }
    return values
  }
}

/// Appends XDR values to `bytes`.
///
/// It writes what it is given: the limits of the protocol are the caller's business.
public struct XDRWriter {
  public private(set) var bytes: [UInt8]

  /// Starts with `reserved` zero bytes, for a header that is written when the length is known.
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

  /// Bytes of variable length with their count and padding. A count beyond 32 bits cannot be said and is clamped.
  public mutating func opaque(_ value: some Collection<UInt8>) {
    uint32(UInt32(clamping: value.count))
    bytes.append(contentsOf: value)
    bytes.append(contentsOf: repeatElement(0, count: Self.padding(after: value.count)))
  }

  public mutating func string(_ value: String) {
    opaque(value.utf8)
  }

  /// Words that are written already.
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

  /// Lets `write` fill the bytes that were reserved at the start or written since.
  mutating func patch(_ write: (UnsafeMutableRawBufferPointer) -> Void) {
    bytes.withUnsafeMutableBytes { write($0) }
  }
}
