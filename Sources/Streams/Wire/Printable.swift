// Text from outside on lines that people and programs read: the log, the audit, tables, JSON.

extension Unicode.Scalar {
  /// Whether it is shown as itself and leaves what stands around it alone. Line ends, control characters of both
  /// sets, and characters that turn the direction of writing or cannot be seen are not.
  public var isPlain: Bool {
    if value < 0x7f { return value >= 0x20 }
    return switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse,
      .unassigned:
      false
    default: true
    }
  }
}

/// `text` on one line of visible characters: the words of a client could otherwise write lines of their own or
/// steer the terminal of an administrator. Of more than `mostBytes` the beginning is left, with a note.
public func printable(_ text: String, mostBytes: Int = .max) -> String {
  if text.utf8.count <= mostBytes, text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) { return text }
  var clean = ""
  for scalar in text.unicodeScalars {
    if scalar.isPlain {
      clean.unicodeScalars.append(scalar)
    } else {
      clean += "\\u{\(String(scalar.value, radix: 16))}"
    }
    if clean.utf8.count > mostBytes {
      return cut(clean, to: mostBytes) + "… (\(text.utf8.count) bytes in all)"
    }
  }
  return clean
}

/// The first bytes of a text, without half a character at the end.
private func cut(_ text: String, to bytes: Int) -> Substring {
  var end = text.utf8.index(text.utf8.startIndex, offsetBy: max(0, bytes))
  while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil {
    text.utf8.formIndex(before: &end)
  }
  return text[..<end]
}

/// `text` as a string of JSON, in quotes. What is not plain is written by its number, so that the same text comes
/// out of a parser and none of it is obeyed by a terminal before.
public func jsonQuoted(_ text: String) -> String {
  var quoted = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": quoted += "\\\""
    case "\\": quoted += "\\\\"
    case "\n": quoted += "\\n"
    case "\t": quoted += "\\t"
    case _ where scalar.isPlain: quoted.unicodeScalars.append(scalar)
    default: for unit in String(scalar).utf16 { quoted += jsonEscape(unit) }
    }
  }
  return quoted + "\""
}

/// `\u00e9`, with four digits.
private func jsonEscape(_ unit: UInt16) -> String {
  let digits = String(unit, radix: 16)
  return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
}
