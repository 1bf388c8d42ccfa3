// Whether a certificate may be used in a role: libvirt's checks.
import Streams

/// The role in which a certificate is used.
enum CertificateRole: Sendable, Equatable {
  /// This broker presents it.
  case server
  /// A client presents it.
  case client
  /// It signs other certificates.
  case authority

  fileprivate var words: String {
    switch self {
    case .server: "a server"
    case .client: "a client"
    case .authority: "an authority"
    }
  }
}

/// The checks, as pure functions. A diagnostic of severity error forbids the use of the certificate. The texts follow
/// the certificate's name.
enum CertificateChecks {
  /// All diagnostics of a certificate in its role at a moment.
  /// - Parameter now: seconds since 1970.
  static func diagnostics(
    of certificate: Certificate, as role: CertificateRole, at now: Int64
  ) -> [Message] {
    dates(of: certificate, at: now) + basicConstraints(of: certificate, as: role)
      + keyUsage(of: certificate, as: role) + purposes(of: certificate, as: role)
  }

  /// - Parameter now: seconds since 1970.
  static func dates(of certificate: Certificate, at now: Int64) -> [Message] {
    if certificate.expiration < now {
      return [Message(.certificateExpired, [dateText(certificate.expiration)])]
    }
    if certificate.activation > now {
      return [Message(.certificateNotYetValid, [dateText(certificate.activation)])]
    }
    return []
  }

  static func basicConstraints(
    of certificate: Certificate, as role: CertificateRole
  ) -> [Message] {
    switch (certificate.basicConstraints, role) {
    case (.authority, .authority), (.notAuthority, .server), (.notAuthority, .client),
      (.missing, .server), (.missing, .client):
      []
    case (.authority, _): [Message(.constraintsOfAuthority, [role.words])]
    case (.notAuthority, .authority): [Message(.constraintsOfNoAuthority)]
    case (.missing, .authority): [Message(.constraintsMissing)]
    }
  }

  /// Key encipherment is not required: only RSA key exchange needs it, which TLS 1.3 does not have, and
  /// ECDSA and Ed25519 keys cannot do it.
  static func keyUsage(
    of certificate: Certificate, as role: CertificateRole
  ) -> [Message] {
    guard let usage = certificate.keyUsage else { return [] }
    let (needed, name): (Certificate.KeyUsage, String) =
      role == .authority
      ? (.certificateSigning, "certificate signing") : (.digitalSignature, "digital signature")
    guard !usage.content.contains(needed) else { return [] }
    return [Message(usage.isCritical ? .criticalKeyUsageLacks : .keyUsageLacks, [name])]
  }

  /// As in libvirt, an unknown purpose counts for both roles, and the purpose "any" for neither.
  static func purposes(
    of certificate: Certificate, as role: CertificateRole
  ) -> [Message] {
    guard role != .authority, let purposes = certificate.purposes else { return [] }
    let wanted = role == .server ? Certificate.Purpose.server : Certificate.Purpose.client
    let other = role == .server ? Certificate.Purpose.client : Certificate.Purpose.server
    let fits = purposes.content.contains { $0 != other && $0 != Certificate.Purpose.any }
    guard !fits else { return [] }
    let name = role == .server ? "TLS server" : "TLS client"
    return [
      Message(purposes.isCritical ? .criticalPurposeLacks : .purposeLacks, [name, wanted])
    ]
  }

  /// Whether a client with this distinguished name is accepted.
  static func name(_ name: String, in list: NameList?) -> [Message] {
    guard let list, !list.admits(name) else { return [] }
    return [Message(list.isEmpty ? .noNameAllowed : .nameNotAllowed)]
  }

  /// Whole days until a time, rounded down; negative once it is over.
  static func days(until moment: Int64, from now: Int64) -> Int {
    let seconds = moment - now
    return Int(seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400)
  }
}

/// When to warn of an expiry: once for each of the marks.
struct ExpiryReminder: Sendable, Equatable {
  static let marks = [30, 14, 7, 1]
  private var said = Int.max

  /// Whether a warning is due with this many days left. A second call with the same days returns false.
  mutating func isDue(days: Int) -> Bool {
    guard let mark = ExpiryReminder.marks.last(where: { days <= $0 }) else {
      said = Int.max
      return false
    }
    // A certificate that has expired causes one more warning.
    let now = days < 0 ? -1 : mark
    defer { said = now }
    return now < said
  }
}
