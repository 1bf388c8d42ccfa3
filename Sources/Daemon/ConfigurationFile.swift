// The syntax of libvirt's configuration files: bytes in, keys and values out.
//
// This file imports nothing, so that a fuzzer can be built from it alone.

/// The value of a key.
enum ConfigurationValue: Equatable, Sendable {
  case number(Int)
  case text(String)
  /// Numbers and strings. libvirt's grammar also allows nested lists, but no key takes one.
  case list([ConfigurationValue])
}

/// One `key = value` and the line, counted from 1, on which the key stands.
struct ConfigurationEntry: Equatable, Sendable {
  let key: String
  let value: ConfigurationValue
  let line: Int
}

/// A file that cannot be read as configuration: `file:line: key: expected this, found that`.
struct ConfigurationSyntaxError: Error, Equatable, CustomStringConvertible {
  let file: String
  let line: Int
  /// The key whose value was being read; nil: the error is before any key.
  let key: String?
  let expected: String
  let found: String

  /// The place of the error: `file:line: key`, or `file:line`.
  var place: String { "\(file):\(line)\(key.map { ": \($0)" } ?? "")" }
  var description: String { "\(place): expected \(expected), found \(found)" }
}

/// The entries of one file, in its order. A repeated key is kept twice; the reader of the entries decides.
///
/// The grammar is libvirt's: statements end with a line or `;`, numbers are decimal, strings stand in '…', "…" or, over
/// several lines, """…""" and know no escapes, a list may span lines and end with a comma, and a comment extends from
/// `#` to the end of its line, but not inside a list.
struct ConfigurationFile: Equatable, Sendable {
  let name: String
  let entries: [ConfigurationEntry]

  init(name: String, bytes: [UInt8]) throws(ConfigurationSyntaxError) {
    var parser = ConfigurationParser(file: name, bytes: bytes)
    self.name = name
    self.entries = try parser.entries()
  }
}

/// Reads statement after statement. `position` never passes the end, and `line` is that of `position`. Nothing
/// recurses, so nested input uses no stack.
private struct ConfigurationParser {
  let file: String
  let bytes: [UInt8]
  var position = 0
  var line = 1
  var key: String?

  init(file: String, bytes: [UInt8]) {
    self.file = file
    self.bytes = bytes
  }

  mutating func entries() throws(ConfigurationSyntaxError) -> [ConfigurationEntry] {
    var entries: [ConfigurationEntry] = []
    skipBlanksAndLines()
    while let byte = current {
      if byte == ascii("#") {
        skipComment()
      } else {
        entries.append(try statement())
        try endOfStatement()
      }
      skipBlanksAndLines()
    }
    return entries
  }

  private mutating func statement() throws(ConfigurationSyntaxError) -> ConfigurationEntry {
    let line = self.line
    key = nil
    guard let first = current, first.isLetter else { throw failure(expected: "a key") }
    let name = word { $0.isLetter || $0.isDigit || $0 == ascii("_") }
    key = name
    skipBlanks()
    guard current == ascii("=") else { throw failure(expected: "'='") }
    position += 1
    let value = try value()
    return ConfigurationEntry(key: name, value: value, line: line)
  }

  /// A comment may follow a value; another statement may follow only after the end of the line or a semicolon.
  private mutating func endOfStatement() throws(ConfigurationSyntaxError) {
    skipBlanks()
    switch current {
    case nil, ascii("\n"), ascii("\r"): break
    case ascii("#"): skipComment()
    case ascii(";"): position += 1
    default: throw failure(expected: "the end of the line")
    }
  }

  // MARK: Values

  private mutating func value() throws(ConfigurationSyntaxError) -> ConfigurationValue {
    skipBlanks()
    if current == ascii("[") { return .list(try list()) }
    return try scalar(expected: "a number, a string in quotes or a list in [ ]")
  }

  private mutating func list() throws(ConfigurationSyntaxError) -> [ConfigurationValue] {
    var elements: [ConfigurationValue] = []
    position += 1
    skipBlanksAndLines()
    while current != ascii("]") {
      elements.append(try scalar(expected: "a number, a string in quotes or ']'"))
      skipBlanksAndLines()
      if current == ascii(",") {
        position += 1
        skipBlanksAndLines()
      } else if current != ascii("]") {
        throw failure(expected: "',' or ']'")
      }
    }
    position += 1
    return elements
  }

  private mutating func scalar(
    expected: String
  ) throws(ConfigurationSyntaxError) -> ConfigurationValue {
    switch current {
    case ascii("'"): return .text(try text(quote: "'", maySpanLines: false))
    case ascii("\""):
      let tripled = Array("\"\"\"".utf8)
      return bytes[position...].starts(with: tripled)
        ? .text(try text(quote: "\"\"\"", maySpanLines: true))
        : .text(try text(quote: "\"", maySpanLines: false))
    case let byte? where byte.isDigit || byte == ascii("-") || byte == ascii("+"):
      return .number(try number())
    default: throw failure(expected: expected)
    }
  }

  private mutating func text(
    quote: String, maySpanLines: Bool
  ) throws(ConfigurationSyntaxError) -> String {
    let closing = Array(quote.utf8)
    position += closing.count
    let start = position
    while !bytes[position...].starts(with: closing) {
      guard let byte = current, maySpanLines || !byte.isLineEnd else {
        throw failure(expected: "\(quote) to end the string")
      }
      guard byte != 0 else { throw failure(expected: "text") }
      step(over: byte)
    }
    guard let text = String(validating: bytes[start..<position], as: UTF8.self) else {
      throw failure(expected: "text in UTF-8", found: "other bytes")
    }
    position += closing.count
    return text
  }

  private mutating func number() throws(ConfigurationSyntaxError) -> Int {
    let start = position
    if current == ascii("-") || current == ascii("+") { position += 1 }
    guard let byte = current, byte.isDigit else { throw failure(expected: "a digit") }
    _ = word { $0.isDigit }
    let digits = String(decoding: bytes[start..<position], as: UTF8.self)
    guard let number = Int(digits) else {
      throw failure(expected: "a number of 64 bits", found: digits)
    }
    return number
  }

  // MARK: Bytes

  private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func step(over byte: UInt8) {
    if byte == ascii("\n") { line += 1 }
    position += 1
  }

  private mutating func skipBlanks() {
    while let byte = current, byte.isBlank { position += 1 }
  }

  private mutating func skipBlanksAndLines() {
    while let byte = current, byte.isBlank || byte.isLineEnd { step(over: byte) }
  }

  private mutating func skipComment() {
    while let byte = current, !byte.isLineEnd { position += 1 }
  }

  private mutating func word(of belongs: (UInt8) -> Bool) -> String {
    let start = position
    while let byte = current, belongs(byte) { position += 1 }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private func failure(expected: String, found: String? = nil) -> ConfigurationSyntaxError {
    ConfigurationSyntaxError(
      file: file, line: line, key: key, expected: expected, found: found ?? whatIsHere)
  }

  private var whatIsHere: String {
    guard let byte = current else { return "the end of the file" }
    if byte.isLineEnd { return "the end of the line" }
    if byte > 0x20, byte < 0x7f { return "'\(Character(UnicodeScalar(byte)))'" }
    let digits = String(byte, radix: 16)
    return "the byte 0x\(digits.count < 2 ? "0" : "")\(digits)"
  }
}

private func ascii(_ scalar: UnicodeScalar) -> UInt8 { UInt8(ascii: scalar) }

extension UInt8 {
  fileprivate var isDigit: Bool { self >= ascii("0") && self <= ascii("9") }
  fileprivate var isLetter: Bool { (self | 0x20) >= ascii("a") && (self | 0x20) <= ascii("z") }
  fileprivate var isBlank: Bool { self == ascii(" ") || self == ascii("\t") }
  fileprivate var isLineEnd: Bool { self == ascii("\n") || self == ascii("\r") }
}
