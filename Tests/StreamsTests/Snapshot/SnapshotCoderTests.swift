// The encoding of snapshots.
import Testing

@testable import Streams

@Suite("snapshot coder")
struct SnapshotCoderTests {
  /// One value of each kind.
  struct Values: Equatable {
    var number: UInt64 = 0
    var signed: Int32 = 0
    var small: UInt8 = 0
    var flag = false
    var time = 0.0
    var phase = StreamPhase.opening
    var bytes: [UInt8] = []
    var text = ""
    var missing: String?
    var present: String?
    var several: [UInt16] = []
    var descriptor: Int32 = -1

    mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
      try coder.code(&number)
      try coder.code(&signed)
      try coder.code(&small, in: 0...9)
      try coder.code(&flag)
      try coder.code(&time)
      try coder.code(&phase)
      try coder.code(&bytes)
      try coder.code(&text)
      try coder.code(&missing)
      try coder.code(&present)
      try coder.code(&several, initially: 0) { (value, coder) throws(Violation) in
        try coder.code(&value)
      }
      try coder.descriptor(&descriptor)
    }
  }

  static let values = Values(
    number: .max, signed: -7, small: 9, flag: true, time: 1.5, phase: .drained,
    bytes: [1, 2, 3], text: "grün", missing: nil, present: "there", several: [1, 0xFFFF],
    descriptor: 42)

  static func written() throws -> SnapshotCoder {
    var coder = SnapshotCoder()
    var values = values
    try values.code(&coder)
    return coder
  }

  @Test("what is written is read")
  func roundTrip() throws {
    let written = try SnapshotCoderTests.written()
    #expect(written.descriptors == [42])
    var coder = SnapshotCoder(reading: written.bytes, descriptors: [7])
    var values = Values()
    try values.code(&coder)
    var expected = SnapshotCoderTests.values
    // The number of the descriptor in the reader's process.
    expected.descriptor = 7
    #expect(values == expected)
    #expect(coder.remaining == 0)
    #expect(coder.descriptors == [-1], "a descriptor that was taken is not closed with the rest")
  }

  @Test("a snapshot that ends anywhere is refused")
  func truncated() throws {
    let bytes = try SnapshotCoderTests.written().bytes
    for length in 0..<bytes.count {
      var coder = SnapshotCoder(reading: Array(bytes.prefix(length)), descriptors: [7])
      var values = Values()
      let error = #expect(throws: Violation.self) { try values.code(&coder) }
      #expect(error?.message.has(.snapshotTooShort) == true, "\(length) bytes")
    }
  }

  @Test("a number outside its range, an unknown case and a missing descriptor are refused")
  func invalid() throws {
    let bytes = try SnapshotCoderTests.written().bytes
    func error(at place: Int, _ byte: UInt8, descriptors: [Int32] = [7]) -> Violation? {
      var changed = bytes
      changed[place] = byte
      var coder = SnapshotCoder(reading: changed, descriptors: descriptors)
      var values = Values()
      return #expect(throws: Violation.self) { try values.code(&coder) }
    }
    // The range, the flag, and the case behind the eight bytes of the time.
    for place in [12, 13, 22] {
      #expect(error(at: place, 200)?.message.has(.snapshotValueInvalid) == true, "\(place)")
    }
    let last = bytes.count - 1
    #expect(error(at: last, 1)?.message.has(.snapshotDescriptorMissing) == true)
    #expect(error(at: last, 0, descriptors: [-1])?.message.has(.snapshotDescriptorMissing) == true)
  }

  @Test("a count that promises more than there is reserves nothing")
  func hugeCount() {
    var coder = SnapshotCoder(reading: [0xFF, 0xFF, 0xFF, 0xFF, 1], descriptors: [])
    var several: [UInt8] = []
    #expect(throws: Violation.self) {
      try coder.code(&several, initially: 0) { (value, coder) throws(Violation) in
        try coder.code(&value)
      }
    }
    #expect(several.isEmpty)
  }
}
