// The fields of a certificate as plain values: all that the checks use.

/// An X.509 certificate, as far as it matters for its permitted uses.
struct Certificate: Sendable, Equatable {
  /// Whether it may sign other certificates.
  enum BasicConstraints: Sendable, Equatable { case missing, notAuthority, authority }

  /// The permitted uses of the key.
  struct KeyUsage: OptionSet, Sendable {
    let rawValue: UInt32
    static let digitalSignature = KeyUsage(rawValue: 128)
    static let keyEncipherment = KeyUsage(rawValue: 32)
    static let certificateSigning = KeyUsage(rawValue: 4)
  }

  /// An extension's content, and whether an implementation that does not understand it must refuse the certificate.
  struct Marked<Content: Sendable & Equatable>: Sendable, Equatable {
    var content: Content
    var isCritical: Bool
    init(_ content: Content, isCritical: Bool) {
      self.content = content
      self.isCritical = isCritical
    }
  }

  /// Object identifiers of purposes.
  enum Purpose {
    static let server = "1.3.6.1.5.5.7.3.1"
    static let client = "1.3.6.1.5.5.7.3.2"
    static let any = "2.5.29.37.0"
  }

  /// The distinguished name, as GnuTLS writes it.
  var subject: String
  var issuer = ""
  /// Seconds since 1970.
  var activation: Int64
  var expiration: Int64
  var basicConstraints = BasicConstraints.missing
  /// nil: the certificate has no such extension.
  var keyUsage: Marked<KeyUsage>?
  /// nil: the certificate has no such extension.
  var purposes: Marked<[String]>?
  /// SHA-256 of the whole certificate.
  var fingerprint: [UInt8] = []
}

/// A time in the form for administrators, with its time zone.
func dateText(_ seconds: Int64) -> String {
  // Civil date from days since 1970, in the proleptic Gregorian calendar.
  let day = (seconds >= 0 ? seconds : seconds - 86_399) / 86_400
  let second = seconds - day * 86_400
  let shifted = day + 719_468
  let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
  let dayOfEra = shifted - era * 146_097
  let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
  let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
  let monthFromMarch = (5 * dayOfYear + 2) / 153
  let dayOfMonth = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
  let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
  let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
  return "\(year)-\(two(month))-\(two(dayOfMonth)) \(two(second / 3600)):"
    + "\(two(second / 60 % 60)):\(two(second % 60)) UTC"
}
