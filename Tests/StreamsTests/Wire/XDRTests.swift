// XDR: the encoding of every type, and what the reader refuses.
import Testing

@testable import Streams

@Suite("XDR")
struct XDRTests {
  @Test("each type has the standard's encoding and is parsed from it")
  func layout() throws {
    var writer = XDRWriter()
    writer.int32(-2)
    writer.uint32(0x0102_0304)
    writer.int64(-3)
    writer.uint64(0x0102_0304_0506_0708)
    writer.double(1)
    writer.string("abcde")
    writer.opaque([9])
    writer.optional(nil as Int32?) { $0.int32($1) }
    writer.optional(5) { $0.int32($1) }
    writer.array([1, 2]) { $0.uint32($1) }
    #expect(
      writer.bytes == [
        0xff, 0xff, 0xff, 0xfe, 1, 2, 3, 4,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfd, 1, 2, 3, 4, 5, 6, 7, 8,
        0x3f, 0xf0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 5, 0x61, 0x62, 0x63, 0x64, 0x65, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5,
        0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2,
      ])
    try reading(writer.bytes) { reader in
      #expect(try reader.int32() == -2)
      #expect(try reader.uint32() == 0x0102_0304)
      #expect(try reader.int64() == -3)
      #expect(try reader.uint64() == 0x0102_0304_0506_0708)
      #expect(try reader.double() == 1)
      #expect(try reader.string() == "abcde")
      #expect(try Array(reader.opaque(limit: 1)) == [9])
      #expect(try reader.optional { reader throws(Violation) in try reader.int32() } == nil)
      #expect(try reader.optional { reader throws(Violation) in try reader.int32() } == 5)
      let array = try reader.array(limit: 2) { reader throws(Violation) in try reader.uint32() }
      #expect(array == [1, 2])
      #expect(reader.remaining == 0)
    }
  }

  @Test("a string is padded to whole words, and parsing requires the padding", arguments: 0...9)
  func padding(count: Int) throws {
    let text = String(repeating: "x", count: count)
    var writer = XDRWriter()
    writer.string(text)
    #expect(writer.bytes.count == 4 + (count + 3) / 4 * 4)
    #expect(try reading(writer.bytes) { try $0.string() } == text)
    if count % 4 != 0 {
      #expect(throws: Violation.self) {
        try reading(writer.bytes.dropLast()) { try $0.string() }
      }
    }
  }

  @Test("the content of the padding is ignored")
  func padBytes() throws {
    #expect(try reading([0, 0, 0, 1, 0x61, 1, 2, 3]) { try $0.string() } == "a")
  }

  @Test("a string ends before its first NUL, as in libvirt")
  func nul() throws {
    #expect(try reading([0, 0, 0, 3, 0x61, 0, 0x62, 0]) { try $0.string() } == "a")
    #expect(try reading([0, 0, 0, 1, 0, 0, 0, 0]) { try $0.string() } == "")
  }

  @Test("bytes that are not UTF-8 are replaced")
  func repair() throws {
    #expect(
      try reading([0, 0, 0, 3, 0x61, 0xff, 0x62, 0]) { try $0.string() } == "a\u{fffd}b")
  }

  @Test("a string within its limit is refused if replacement makes it longer than the limit")
  func repairBeyondLimit() throws {
    let bytes: [UInt8] = [0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]
    #expect(try reading(bytes) { try $0.string(limit: 12) }.utf8.count == 12)
    #expect(throws: Violation.self) { try reading(bytes) { try $0.string(limit: 11) } }
  }

  @Test(
    "a string of the maximum length is accepted and a longer one refused, whether or not its bytes are there"
  )
  func stringLimit() throws {
    var writer = XDRWriter()
    writer.string(String(repeating: "x", count: Limits.string))
    #expect(try reading(writer.bytes) { try $0.string() }.utf8.count == Limits.string)
    writer = XDRWriter()
    writer.string(String(repeating: "x", count: Limits.string + 1))
    let long = writer.bytes
    #expect(throws: Violation(.tooManyBytes, [4_194_305, 4_194_304])) {
      try reading(long) { try $0.string() }
    }
    #expect(throws: Violation(.tooManyBytes, [4_294_967_295, 4_194_304])) {
      try reading([0xff, 0xff, 0xff, 0xff]) { try $0.string() }
    }
  }

  @Test(
    "an array of the maximum length is accepted, a longer one refused, and a false count fails at the last byte"
  )
  func arrayLimit() throws {
    func array(_ bytes: [UInt8], limit: Int) throws -> [UInt32] {
      try reading(bytes) { reader in
        try reader.array(limit: limit) { reader throws(Violation) in try reader.uint32() }
      }
    }
    var writer = XDRWriter()
    writer.array([7, 8]) { $0.uint32($1) }
    #expect(try array(writer.bytes, limit: 2) == [7, 8])
    #expect(throws: Violation(.tooManyElements, [2, 1])) {
      try array(writer.bytes, limit: 1)
    }
    #expect(throws: Violation.self) { try array([0xff, 0xff, 0xff, 0xff, 1], limit: .max) }
  }

  @Test("any word except 0 announces an optional value")
  func announced() throws {
    let value = try reading([0x80, 0, 0, 0, 0, 0, 0, 9]) { reader in
      try reader.optional { reader throws(Violation) in try reader.int32() }
    }
    #expect(value == 9)
  }

  @Test("a negative count, and a count beyond the end, are refused")
  func fixed() throws {
    for count in [-1, 4, Int.max, Int.min] {
      #expect(throws: Violation.self) { try reading([1, 2, 3]) { try Array($0.fixed(count)) } }
    }
    #expect(try reading([1, 2, 3]) { try Array($0.fixed(3)) } == [1, 2, 3])
  }

  @Test("a reader of empty memory refuses every read")
  func nothing() {
    #expect(throws: Violation.self) {
      var reader = XDRReader(UnsafeRawBufferPointer(start: nil, count: 0))
      _ = try reader.uint32()
    }
  }
}
