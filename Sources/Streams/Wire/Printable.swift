// Escapes text from outside for output: the log, audit records, tables, JSON.

extension Unicode.Scalar {
  /// Whether the character is visible and does not affect the text around it. Line ends, C0 and C1 control characters,
  /// invisible characters, and characters that change the writing direction are not plain.
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

/// `text` on one line of visible characters. Otherwise text from a client could forge log lines or control an
/// administrator's terminal. Text longer than `mostBytes` is truncated, with a note.
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

/// `text` as a JSON string, in quotes. Characters that are not plain are escaped, so that a parser returns the same
/// text and a terminal does not interpret it.
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
