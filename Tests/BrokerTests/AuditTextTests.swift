// An audit record is one line of JSON with exactly the values that were written to it, whatever they are.
import Foundation
import Testing

@testable import Broker

@Suite("Audit text")
struct AuditTextTests {
  /// One record, parsed by Foundation's JSON decoder.
  private static func read(_ describe: (inout AuditText) -> Void) throws -> [String: Any] {
    var beginning = AuditBeginning()
    beginning.renew(in: 1)
    var text = AuditText()
    text.add(beginning.bytes)
    text.raw("test\"")
    describe(&text)
    text.raw("}\n")
    let line = Data(text.bytes)
    #expect(line.filter { $0 == UInt8(ascii: "\n") }.count == 1)
    return try #require(JSONSerialization.jsonObject(with: line) as? [String: Any])
  }

  @Test("text values survive a round trip through JSON", arguments: 0..<50)
  func texts(seed: UInt64) throws {
    var random = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    let wanted = String(
      String.UnicodeScalarView(
        (0..<200).compactMap { _ in
          random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          let width = [0x80, 0x100, 0x3000, 0x11_0000][Int(random >> 20 & 3)]
          return Unicode.Scalar(UInt32(random >> 33) % UInt32(width))
        }))
    #expect(try Self.read { $0.add("text", wanted) }["text"] as? String == wanted)
  }

  @Test("numbers and durations survive a round trip through JSON")
  func numbers() throws {
    let record = try Self.read { text in
      text.add("most", UInt64.max)
      text.add("least", Int64.min)
      text.add("none", 0)
      text.add("short", seconds: 0.000_042)
      text.add("long", seconds: 86_400.5)
      text.add("negative", seconds: -1)
      text.add("endless", seconds: .infinity)
      text.add("unknown", seconds: .nan)
      text.add("word", word: "ok")
      text.add("absent", nil as String?)
    }
    #expect((record["most"] as? NSNumber)?.uint64Value == .max)
    #expect((record["least"] as? NSNumber)?.int64Value == .min)
    #expect(record["none"] as? Int == 0)
    #expect(record["short"] as? Double == 0.000_042)
    #expect(record["long"] as? Double == 86_400.5)
    #expect(record["negative"] as? Double == 0)
    #expect((record["endless"] as? Double ?? 0) > 1e9)
    #expect(record["unknown"] as? Double == 0)
    #expect(record["word"] as? String == "ok")
    #expect(record["absent"] == nil)
  }

  @Test("text can be appended after a cut and after a clear")
  func cut() {
    var text = AuditText()
    for _ in 0..<2 {
      for _ in 0..<100_000 { text.raw("0123456789") }
      text.cut(to: 15)
      text.raw("!")
      text.cut(to: 1000)
      let left = String(decoding: text.bytes, as: UTF8.self)
      #expect(left == "012345678901234!")
      text.clear()
      let isEmpty = text.isEmpty
      #expect(isEmpty)
    }
  }

  @Test("the time is the current time in UTC and does not change within a turn")
  func time() throws {
    var beginning = AuditBeginning()
    let began = Date()
    beginning.renew(in: 7)
    let first = String(decoding: beginning.bytes, as: UTF8.self)
    usleep(2000)
    beginning.renew(in: 7)
    #expect(String(decoding: beginning.bytes, as: UTF8.self) == first)
    beginning.renew(in: 8)
    let second = String(decoding: beginning.bytes, as: UTF8.self)
    #expect(second > first)
    let stamp = try #require(try /{"time":"(.*)","event":"/.wholeMatch(in: first)?.1)
    let format = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    let told = try Date(String(stamp.prefix(23)) + "Z", strategy: format)
    #expect(abs(told.timeIntervalSince(began)) < 5)
    #expect(stamp.wholeMatch(of: /....-..-..T..:..:..\.[0-9]{6}Z/) != nil)
  }
}
