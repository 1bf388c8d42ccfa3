// The encoding of a broker's state on its way to a new process.

/// Writes or reads values one after the other. A type has one function for both directions, so that they cannot differ.
///
/// Integers are in network byte order; counts are 32 bits. A reader checks every value against the remaining bytes, so any
/// input gives values or a `Violation`, never a trap. Descriptors do not travel in the bytes: the bytes have numbers into
/// a list of descriptors.
public struct SnapshotCoder {
  public let isReading: Bool
  /// The bytes written, or those to read.
  public private(set) var bytes: [UInt8]
  private var offset = 0
  /// The descriptors in the order in which they were written, or those received; -1: taken.
  public private(set) var descriptors: [Int32]

  /// A writer.
  public init() {
    isReading = false
    bytes = []
    descriptors = []
  }

  public init(reading bytes: [UInt8], descriptors: [Int32]) {
    isReading = true
    self.bytes = bytes
    self.descriptors = descriptors
  }

  /// Bytes not read yet.
  public var remaining: Int { bytes.count - offset }

  // MARK: Numbers

  public mutating func code<Value: FixedWidthInteger>(_ value: inout Value) throws(Violation) {
    let size = MemoryLayout<Value>.size
    guard isReading else {
      withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
      return
    }
    try need(size)
    value = bytes.withUnsafeBytes {
      Value(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
    offset += size
  }

  /// A number that a reader accepts in this range only.
  public mutating func code<Value: FixedWidthInteger>(
    _ value: inout Value, in range: ClosedRange<Value>
  ) throws(Violation) {
    try code(&value)
    guard range.contains(value) else {
      throw Violation(.snapshotValueInvalid, ["\(value)", "\(range)"])
    }
  }

  public mutating func code(_ value: inout Bool) throws(Violation) {
    var number: UInt8 = value ? 1 : 0
    try code(&number, in: 0...1)
    value = number == 1
  }

  public mutating func code(_ value: inout Double) throws(Violation) {
    var number = value.bitPattern
    try code(&number)
    value = Double(bitPattern: number)
  }

  /// A case of an enumeration, by its number.
  public mutating func code<Value: RawRepresentable>(_ value: inout Value) throws(Violation)
  where Value.RawValue: FixedWidthInteger {
    var number = value.rawValue
    try code(&number)
    guard let known = Value(rawValue: number) else {
      throw Violation(.snapshotValueInvalid, ["\(number)", "\(Value.self)"])
    }
    value = known
  }

  // MARK: Bytes and text

  public mutating func code(_ value: inout [UInt8]) throws(Violation) {
    let count = try count(value.count)
    guard isReading else { return bytes.append(contentsOf: value) }
    try need(count)
    value = Array(bytes[offset..<offset + count])
    offset += count
  }

  /// Writes bytes, which a reader gets as an array.
  mutating func write(_ value: [UInt8]) throws(Violation) {
    var value = value
    try code(&value)
  }

  public mutating func code(_ value: inout String) throws(Violation) {
    var text = isReading ? [] : Array(value.utf8)
    try code(&text)
    if isReading { value = String(decoding: text, as: UTF8.self) }
  }

  public mutating func code(_ value: inout String?) throws(Violation) {
    try code(&value, initially: "") { (text, coder) throws(Violation) in try coder.code(&text) }
  }

  // MARK: Several values

  /// The number of the elements that follow. Each takes one byte at least.
  public mutating func count(_ count: Int) throws(Violation) -> Int {
    var number = UInt32(clamping: count)
    try code(&number)
    if isReading { try need(Int(number)) }
    return Int(number)
  }

  /// A value that may be absent.
  /// - Parameter initial: what a reader begins with.
  public mutating func code<Value>(
    _ value: inout Value?, initially initial: @autoclosure () -> Value,
    _ element: (inout Value, inout SnapshotCoder) throws(Violation) -> Void
  ) throws(Violation) {
    var exists = value != nil
    try code(&exists)
    guard exists else {
      value = nil
      return
    }
    var some = value ?? initial()
    try element(&some, &self)
    value = some
  }

  /// - Parameter initial: what a reader begins each element with.
  public mutating func code<Value>(
    _ values: inout [Value], initially initial: @autoclosure () -> Value,
    _ element: (inout Value, inout SnapshotCoder) throws(Violation) -> Void
  ) throws(Violation) {
    let count = try count(values.count)
    if isReading { values = [] }
    for index in 0..<count {
      var value = isReading ? initial() : values[index]
      try element(&value, &self)
      if isReading { values.append(value) }
    }
  }

  // MARK: Descriptors

  /// A descriptor, which a reader takes out of the list.
  public mutating func descriptor(_ number: inout Int32) throws(Violation) {
    var place = UInt32(clamping: descriptors.count)
    try code(&place)
    guard isReading else { return descriptors.append(number) }
    guard place < descriptors.count, descriptors[Int(place)] >= 0 else {
      throw Violation(.snapshotDescriptorMissing, [place])
    }
    number = descriptors[Int(place)]
    descriptors[Int(place)] = -1
  }

  /// - Throws: the snapshot ends before `count` more bytes.
  private func need(_ count: Int) throws(Violation) {
    guard count <= remaining else {
      throw Violation(.snapshotTooShort, [offset, count, remaining])
    }
  }
}
