// What is wrong with a certificate for what it is to be used for: libvirt's checks, each with its sentence.

/// One thing about a certificate.
struct CertificateFault: Sendable, Equatable {
  enum Weight: Sendable, Equatable {
    /// It works all the same, for now.
    case warning
    case refusal
  }
  var weight: Weight
  /// Follows the certificate's name in a sentence.
  var text: String

  static func refusal(_ text: String) -> CertificateFault {
    CertificateFault(weight: .refusal, text: text)
  }
  static func warning(_ text: String) -> CertificateFault {
    CertificateFault(weight: .warning, text: text)
  }
  var isRefusal: Bool { weight == .refusal }
}

/// What a certificate is to be good for.
enum CertificateRole: Sendable, Equatable {
  /// Shown by this broker.
  case server
  /// Shown by a client.
  case client
  /// Vouching for others.
  case authority

  fileprivate var words: String {
    switch self {
    case .server: "a server"
    case .client: "a client"
    case .authority: "a certificate authority"
    }
  }
}

/// The checks. Pure functions: what they say depends on nothing but what they are given.
enum CertificateChecks {
  /// Everything there is to say about a certificate in its role at a moment.
  static func faults(
    of certificate: Certificate, as role: CertificateRole, at now: Int64
  ) -> [CertificateFault] {
    dates(of: certificate, at: now) + basicConstraints(of: certificate, as: role)
      + keyUsage(of: certificate, as: role) + purposes(of: certificate, as: role)
  }

  /// - Parameter now: seconds since 1970.
  static func dates(of certificate: Certificate, at now: Int64) -> [CertificateFault] {
    if certificate.expiration < now {
      return [.refusal("has expired on \(dateText(certificate.expiration))")]
    }
    if certificate.activation > now {
      return [.refusal("is not valid before \(dateText(certificate.activation))")]
    }
    return []
  }

  static func basicConstraints(
    of certificate: Certificate, as role: CertificateRole
  ) -> [CertificateFault] {
    switch (certificate.basicConstraints, role) {
    case (.authority, .authority), (.notAuthority, .server), (.notAuthority, .client),
      (.missing, .server), (.missing, .client):
      []
    case (.authority, _):
      [
        .refusal(
          "has basic constraints that make it a certificate authority, and is to be "
            + "\(role.words)'s")
      ]
    case (.notAuthority, .authority):
      [.refusal("has basic constraints that say it is no certificate authority")]
    case (.missing, .authority):
      [.refusal("has no basic constraints, which a certificate authority needs")]
    }
  }

  /// Key encipherment is not asked for: only RSA key exchange needs it, which TLS 1.3 does not have, and
  /// ECDSA and Ed25519 keys cannot do it.
  static func keyUsage(
    of certificate: Certificate, as role: CertificateRole
  ) -> [CertificateFault] {
    guard let usage = certificate.keyUsage else { return [] }
    let (needed, name): (Certificate.KeyUsage, String) =
      role == .authority
      ? (.certificateSigning, "certificate signing") : (.digitalSignature, "digital signature")
    guard !usage.content.contains(needed) else { return [] }
    return usage.isCritical
      ? [.refusal("has a critical key usage without \(name)")]
      : [.warning("has a key usage without \(name)")]
  }

  /// Whoever has a purpose of its own invention is taken to mean both roles, and the purpose "any" to
  /// mean neither: that is how libvirt reads them.
  static func purposes(
    of certificate: Certificate, as role: CertificateRole
  ) -> [CertificateFault] {
    guard role != .authority, let purposes = certificate.purposes else { return [] }
    let wanted = role == .server ? Certificate.Purpose.server : Certificate.Purpose.client
    let other = role == .server ? Certificate.Purpose.client : Certificate.Purpose.server
    let fits = purposes.content.contains { $0 != other && $0 != Certificate.Purpose.any }
    guard !fits else { return [] }
    let name = role == .server ? "TLS server" : "TLS client"
    let lack = "extended key usage without the purpose \(name) (\(wanted))"
    return purposes.isCritical ? [.refusal("has a critical \(lack)")] : [.warning("has an \(lack)")]
  }

  /// Whether a client with this name is accepted.
  static func name(_ name: String, in list: NameList?) -> [CertificateFault] {
    guard let list, !list.admits(name) else { return [] }
    return [
      .refusal(
        list.isEmpty
          ? "cannot come in: tls_allowed_dn_list is empty, which admits nobody"
          : "has a distinguished name that no entry of tls_allowed_dn_list matches")
    ]
  }

  /// Whole days until a moment, rounded down; negative once it is over.
  static func days(until moment: Int64, from now: Int64) -> Int {
    let seconds = moment - now
    return Int(seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400)
  }
}

/// When to remind of an expiry: once when each of the marks is passed.
struct ExpiryReminder: Sendable, Equatable {
  static let marks = [30, 14, 7, 1]
  private var said = Int.max

  /// Whether so many days are worth a warning now. Asked again for the same days, they are not.
  mutating func isDue(days: Int) -> Bool {
    guard let mark = ExpiryReminder.marks.last(where: { days <= $0 }) else {
      said = Int.max
      return false
    }
    // What has expired is said once more.
    let now = days < 0 ? -1 : mark
    defer { said = now }
    return now < said
  }
}
