// libvirt's configuration syntax: valid and invalid files.
import Testing

@testable import virtbrokerd

@Suite("configuration syntax")
struct ConfigurationFileTests {
  @Test(
    "what libvirt accepts is accepted",
    arguments: [
      ("", []),
      ("\n \t\r\n", []),
      ("# only a comment", []),
      ("a = 5", [("a", .number(5), 1)]),
      ("a=5\n", [("a", .number(5), 1)]),
      ("  a\t=\t-5 # why\nb = +7", [("a", .number(-5), 1), ("b", .number(7), 2)]),
      ("a = 5; b = 6;\nc = 7", [("a", .number(5), 1), ("b", .number(6), 1), ("c", .number(7), 2)]),
      ("\r\na = 1\r\nb = 2\r\n", [("a", .number(1), 2), ("b", .number(2), 3)]),
      ("a = \"x y # z\"", [("a", .text("x y # z"), 1)]),
      ("a = 'say \"no\"'", [("a", .text("say \"no\""), 1)]),
      ("a = \"it's \\n\"", [("a", .text("it's \\n"), 1)]),
      ("a = \"\"", [("a", .text(""), 1)]),
      ("a = \"\"\"x\n\"y\"\n\"\"\"\nb = 1", [("a", .text("x\n\"y\"\n"), 1), ("b", .number(1), 4)]),
      ("a = \"Grüße\"", [("a", .text("Grüße"), 1)]),
      ("a = []", [("a", .list([]), 1)]),
      ("a = [ ]", [("a", .list([]), 1)]),
      (
        "a = [\n  \"x\",\n  'y', 3,\n]\nb = 1",
        [("a", .list([.text("x"), .text("y"), .number(3)]), 1), ("b", .number(1), 5)]
      ),
      ("a_B9 = 1\na_B9 = 2", [("a_B9", .number(1), 1), ("a_B9", .number(2), 2)]),
      ("a = 9223372036854775807", [("a", .number(.max), 1)]),
      ("a = -9223372036854775808", [("a", .number(.min), 1)]),
    ] as [(String, [(String, ConfigurationValue, Int)])])
  func good(text: String, expected: [(String, ConfigurationValue, Int)]) throws {
    let file = try ConfigurationFile(name: "conf", bytes: Array(text.utf8))
    #expect(
      file.entries
        == expected.map { ConfigurationEntry(key: $0.0, value: $0.1, line: $0.2) })
  }

  @Test(
    "a syntax error has its file, line, key and what was expected",
    arguments: [
      ("=", "conf:1: expected a key, found '='"),
      ("5 = a", "conf:1: expected a key, found '5'"),
      ("a = 1\n\n_b = 2", "conf:3: expected a key, found '_'"),
      ("a", "conf:1: a: expected '=', found the end of the file"),
      ("a b", "conf:1: a: expected '=', found 'b'"),
      ("a-b = 1", "conf:1: a: expected '=', found '-'"),
      ("a\n= 1", "conf:1: a: expected '=', found the end of the line"),
      (
        "a =",
        "conf:1: a: expected a number, a string in quotes or a list in [ ], found the end of the file"
      ),
      (
        "# x\na = yes",
        "conf:2: a: expected a number, a string in quotes or a list in [ ], found 'y'"
      ),
      (
        "a = \u{1}",
        "conf:1: a: expected a number, a string in quotes or a list in [ ], found the byte 0x01"
      ),
      ("a = -", "conf:1: a: expected a digit, found the end of the file"),
      ("a = 5x", "conf:1: a: expected the end of the line, found 'x'"),
      ("a = 5 b = 6", "conf:1: a: expected the end of the line, found 'b'"),
      (
        "a = 9223372036854775808",
        "conf:1: a: expected a number of 64 bits, found 9223372036854775808"
      ),
      ("a = \"x", "conf:1: a: expected \" to end the string, found the end of the file"),
      ("a = 'x\n'", "conf:1: a: expected ' to end the string, found the end of the line"),
      (
        "a = \"\"\"x\n\"\"",
        "conf:2: a: expected \"\"\" to end the string, found the end of the file"
      ),
      ("a = \"x\0y\"", "conf:1: a: expected text, found the byte 0x00"),
      (
        "a = [",
        "conf:1: a: expected a number, a string in quotes or ']', found the end of the file"
      ),
      ("a = [ 1", "conf:1: a: expected ',' or ']', found the end of the file"),
      ("a = [\n \"x\" \"y\" ]", "conf:2: a: expected ',' or ']', found '\"'"),
      ("a = [ , ]", "conf:1: a: expected a number, a string in quotes or ']', found ','"),
      ("a = [ [ 1 ] ]", "conf:1: a: expected a number, a string in quotes or ']', found '['"),
      ("a = [ # c\n 1 ]", "conf:1: a: expected a number, a string in quotes or ']', found '#'"),
      ("a = 1 ]", "conf:1: a: expected the end of the line, found ']'"),
    ])
  func bad(text: String, message: String) {
    let error = #expect(throws: ConfigurationSyntaxError.self) {
      try ConfigurationFile(name: "conf", bytes: Array(text.utf8))
    }
    #expect(error?.description == message)
  }

  @Test("a string that is not UTF-8 is refused; a comment may contain any bytes")
  func notUTF8() throws {
    let comment = try ConfigurationFile(name: "conf", bytes: Array("# ".utf8) + [0xff, 0x0a])
    #expect(comment.entries.isEmpty)
    let error = #expect(throws: ConfigurationSyntaxError.self) {
      try ConfigurationFile(name: "conf", bytes: Array("a = \"".utf8) + [0xff] + Array("\"".utf8))
    }
    #expect(error?.description == "conf:1: a: expected text in UTF-8, found other bytes")
  }

  /// A file with every kind of entry.
  private static let sample = """
    # comment
    listen_tcp = 1
    tcp_port = "16509" ; max_clients = 5000 # both
    list = [ "one",
      'two', 3,
    ]
    text = \"\"\"over
    lines\"\"\"
    last = -5
    """

  @Test(
    "a file cut at any byte yields the entries before the cut, or one error on one of its lines")
  func cuts() throws {
    let bytes = Array(Self.sample.utf8)
    let whole = try ConfigurationFile(name: "conf", bytes: bytes).entries
    #expect(whole.count == 6)
    for end in bytes.indices {
      let cut = Array(bytes[..<end])
      let lines = 1 + cut.count { $0 == UInt8(ascii: "\n") }
      do {
        let entries = try ConfigurationFile(name: "conf", bytes: cut).entries
        // The last entry may be a number that lost digits.
        #expect(entries.dropLast() == whole.prefix(max(0, entries.count - 1)))
        #expect(entries.last?.key == entries.indices.last.map { whole[$0].key })
      } catch {
        #expect((1...lines).contains(error.line))
      }
    }
  }

  @Test("with any bytes changed, a file is parsed or refused and never traps", arguments: 0..<50)
  func changes(seed: UInt64) {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func next(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    let alphabet = Array("[]\"'=,;#\n\r -+09aZ_".utf8) + [0, 0x80, 0xff]
    for _ in 0..<200 {
      var bytes = Array(Self.sample.utf8)
      for _ in 0...next(5) { bytes[next(bytes.count)] = alphabet[next(alphabet.count)] }
      let lines = 1 + bytes.count { $0 == UInt8(ascii: "\n") }
      do {
        let entries = try ConfigurationFile(name: "conf", bytes: bytes).entries
        #expect(entries.allSatisfy { !$0.key.isEmpty && (1...lines).contains($0.line) })
      } catch {
        #expect((1...lines).contains(error.line))
      }
    }
  }

  @Test("deeply nested lists do not exhaust the stack")
  func depth() {
    let error = #expect(throws: ConfigurationSyntaxError.self) {
      try ConfigurationFile(
        name: "conf",
        bytes: Array("a = ".utf8) + [UInt8](repeating: UInt8(ascii: "["), count: 1 << 20))
    }
    #expect(error?.found == "'['")
  }
}
