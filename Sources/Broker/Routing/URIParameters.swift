// Parsing the query of a URI like libvirt.

/// One parameter of a query.
struct URIParameter: Equatable {
  /// Decoded, in lower case: libvirt compares names without regard to case.
  var key: String
  /// Decoded.
  var value: String
  /// The original text.
  var text: Substring
}

/// Parsing and assembling queries.
enum URIParameters {
  /// All parameters, in their order. Nil: a name has characters that no parameter has, or a value has a byte that ends
  /// a string in C.
  ///
  /// libvirt separates at `;` only if no `&` follows. Here both always separate, so that no name hides in a value.
  static func parse(_ query: Substring) -> [URIParameter]? {
    var parameters: [URIParameter] = []
    for text in query.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
      let key = decoded(text.prefix { $0 != "=" })
      let value = decoded(text.drop { $0 != "=" }.dropFirst())
      // libvirt ignores a value without a name.
      if key.isEmpty { continue }
      // libvirt would read a string only up to a NUL.
      guard key.allSatisfy({ isNameByte($0) }), !value.contains(0) else { return nil }
      parameters.append(
        URIParameter(
          key: String(decoding: key, as: UTF8.self).lowercased(),
          value: String(decoding: value, as: UTF8.self), text: text))
    }
    return parameters
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    ConnectURI.isLetterOrDigit(byte) || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
      || byte == UInt8(ascii: ".")
  }

  /// The text with each %XX decoded. A % without two digits after it stays, as in libvirt.
  static func decoded(_ text: Substring) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2, let high = digit(rest[rest.startIndex]),
        let low = digit(rest[rest.startIndex + 1])
      {
        bytes.append(high << 4 | low)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return bytes
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// A text as a value of a query, or as a user's name: everything but letters and digits becomes %XX.
  static func encoded(_ text: String) -> String {
    var encoded = ""
    for byte in text.utf8 {
      if ConnectURI.isLetterOrDigit(byte) {
        encoded.unicodeScalars.append(UnicodeScalar(byte))
      } else {
        let digits = String(byte, radix: 16)
        encoded += digits.utf8.count == 1 ? "%0" + digits : "%" + digits
      }
    }
    return encoded
  }
}
