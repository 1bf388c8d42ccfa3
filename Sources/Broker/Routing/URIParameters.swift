// The query of a URI, read as libvirt reads it.

/// One parameter of a query.
struct URIParameter: Equatable {
  /// Decoded, in lower case: libvirt compares names without regard to case.
  var key: String
  /// Decoded.
  var value: String
  /// As it was written.
  var text: Substring
}

/// Taking a query apart, and putting one together.
enum URIParameters {
  /// All parameters, in their order. Nil: one has a name that no parameter has, or a value with a byte that ends a
  /// string in C.
  ///
  /// libvirt separates at `;` only where no `&` follows. Here both always separate, so that no name hides in a value.
  static func parse(_ query: Substring) -> [URIParameter]? {
    var parameters: [URIParameter] = []
    for text in query.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
      let key = decoded(text.prefix { $0 != "=" })
      let value = decoded(text.drop { $0 != "=" }.dropFirst())
      // libvirt ignores a value without a name.
      if key.isEmpty { continue }
      // Before a NUL, libvirt would see another name than after it.
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

  /// With each %XX undone. A % without two digits behind it stays, as in libvirt.
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

  /// A text as a value of a query, or as a user's name: %XX for all but letters and digits.
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
