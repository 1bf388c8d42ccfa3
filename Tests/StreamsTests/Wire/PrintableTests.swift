// Text from outside in lines for people and programs.
import Foundation
import Streams
import Testing

@Suite("Printable text")
struct PrintableTests {
  /// Characters that start a line, control a terminal, change the writing direction or are invisible.
  private static let harmful: [UInt32] =
    Array(0..<0x20) + Array(0x7f...0x9f) + [0x61c, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029]
    + Array(0x202a...0x202e) + Array(0x2066...0x2069) + [0xfeff, 0xe0001, 0xe007f]

  @Test("printable text cannot start a line, control a terminal or change the writing direction")
  func clean() {
    for value in Self.harmful {
      guard let scalar = Unicode.Scalar(value) else { continue }
      #expect(printable("a\(scalar)b") == "a\\u{\(String(value, radix: 16))}b")
    }
    #expect(printable("Grüße, \"1\" 日本 שלום 🙂") == "Grüße, \"1\" 日本 שלום 🙂")
    #expect(
      printable(String(decoding: [0x61, 0xff, 0xc2, 0x62] as [UInt8], as: UTF8.self))
        == "a\u{fffd}\u{fffd}b")
  }

  @Test("a long text is cut after whole characters")
  func cut() {
    #expect(printable("abc", mostBytes: 3) == "abc")
    #expect(printable("abcd", mostBytes: 3) == "abc… (4 bytes in all)")
    #expect(printable("aéé", mostBytes: 4) == "aé… (5 bytes in all)")
    #expect(printable("\n\n", mostBytes: 6).hasPrefix("\\u{a}"))
    #expect(printable("é", mostBytes: 0) == "… (2 bytes in all)")
  }

  @Test("JSON text survives a round trip and contains none of these characters")
  func json() throws {
    for value in Self.harmful + [0x22, 0x5c, 0x41, 0x1f642] {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let quoted = jsonQuoted("a\(scalar)b")
      let isPlain = quoted.unicodeScalars.allSatisfy { $0.isPlain }
      #expect(isPlain)
      let read =
        try JSONSerialization.jsonObject(
          with: Data("[\(quoted)]".utf8)) as? [String]
      #expect(read == ["a\(scalar)b"])
    }
  }
}
