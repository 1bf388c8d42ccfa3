// Valid and invalid certificates for tests. GnuTLS makes each in a millisecond.
public import CGnuTLS
public import Foundation

public struct MakerTrouble: Error, CustomStringConvertible {
  public let description: String
}

/// The content of a certificate. Any part may be absent or wrong.
public struct CertificateWish: Sendable {
  public enum Constraints: Sendable { case none, leaf, authority }
  public enum Key: Sendable { case ecdsa, rsa, rsa4096, ed25519 }

  /// An RFC 4514 string.
  public var name: String
  public var validFrom: TimeInterval = -3600
  /// Seconds from now.
  public var validUntil: TimeInterval = 86_400 * 365
  public var constraints = Constraints.none
  public var constraintsAreCritical = true
  /// Bits of the key usage: 128 digital signature, 32 key encipherment, 4 certificate signing, 2 CRL
  /// signing. nil: no extension.
  public var usage: UInt32?
  public var usageIsCritical = true
  /// Object identifiers; nil: no extension.
  public var purposes: [String]?
  public var purposesAreCritical = false
  public var hosts: [String] = []
  public var key = Key.ecdsa
  /// An unknown extension, marked critical.
  public var hasUnknownCriticalExtension = false

  public static let serverPurpose = "1.3.6.1.5.5.7.3.1"
  public static let clientPurpose = "1.3.6.1.5.5.7.3.2"
  public static let emailPurpose = "1.3.6.1.5.5.7.3.4"
  public static let anyPurpose = "2.5.29.37.0"

  public init(_ name: String) { self.name = name }

  public static func authority(_ name: String) -> CertificateWish {
    var wish = CertificateWish(name)
    wish.constraints = .authority
    wish.usage = 4 | 2
    return wish
  }

  /// The same content as in libvirt's guide.
  public static func server(_ name: String = "CN=localhost") -> CertificateWish {
    var wish = CertificateWish(name)
    wish.constraints = .leaf
    wish.usage = 128 | 32
    wish.purposes = [serverPurpose]
    wish.hosts = ["localhost"]
    return wish
  }

  public static func client(_ name: String) -> CertificateWish {
    var wish = CertificateWish(name)
    wish.constraints = .leaf
    wish.usage = 128 | 32
    wish.purposes = [clientPurpose]
    return wish
  }

  public func with(_ change: (inout CertificateWish) -> Void) -> CertificateWish {
    var copy = self
    change(&copy)
    return copy
  }
}

/// A certificate with its key. It can sign others.
public final class MadeCertificate: @unchecked Sendable {
  public let handle: gnutls_x509_crt_t
  private let key: gnutls_x509_privkey_t
  private static let serial = Serial()

  /// - Parameter issuer: nil makes a self-signed certificate.
  public init(_ wish: CertificateWish, from issuer: MadeCertificate? = nil) throws {
    var key: gnutls_x509_privkey_t?
    try check(gnutls_x509_privkey_init(&key), "key")
    guard let key else { throw MakerTrouble(description: "no key") }
    self.key = key
    let (algorithm, bits): (gnutls_pk_algorithm_t, UInt32) =
      switch wish.key {
      // GNUTLS_CURVE_TO_BITS is a macro with an argument: the curve with the highest bit set.
      case .ecdsa: (GNUTLS_PK_ECDSA, 1 << 31 | GNUTLS_ECC_CURVE_SECP256R1.rawValue)
      case .rsa: (GNUTLS_PK_RSA, 2048)
      case .rsa4096: (GNUTLS_PK_RSA, 4096)
      case .ed25519: (GNUTLS_PK_EDDSA_ED25519, 1 << 31 | GNUTLS_ECC_CURVE_ED25519.rawValue)
      }
    try check(gnutls_x509_privkey_generate(key, algorithm, bits, 0), "generating a key")

    var made: gnutls_x509_crt_t?
    try check(gnutls_x509_crt_init(&made), "certificate")
    guard let made else { throw MakerTrouble(description: "no certificate") }
    handle = made
    try check(gnutls_x509_crt_set_version(made, 3), "version")
    try check(gnutls_x509_crt_set_dn(made, wish.name, nil), "name \(wish.name)")
    var serial = MadeCertificate.serial.next()
    try check(gnutls_x509_crt_set_serial(made, &serial, serial.count), "serial")
    let now = Date().timeIntervalSince1970
    try check(
      gnutls_x509_crt_set_activation_time(made, time_t(now + wish.validFrom)), "activation")
    try check(
      gnutls_x509_crt_set_expiration_time(made, time_t(now + wish.validUntil)), "expiration")
    try check(gnutls_x509_crt_set_key(made, key), "key")
    try extend(wish)
    // Without an issuer the certificate signs itself.
    try check(
      gnutls_x509_crt_sign2(
        made, issuer?.handle ?? made, issuer?.key ?? key,
        (issuer?.isEd25519 ?? (wish.key == .ed25519)) ? GNUTLS_DIG_SHA512 : GNUTLS_DIG_SHA256, 0),
      "signing")
  }

  deinit {
    gnutls_x509_crt_deinit(handle)
    gnutls_x509_privkey_deinit(key)
  }

  private var isEd25519: Bool {
    gnutls_x509_privkey_get_pk_algorithm(key) == Int32(GNUTLS_PK_EDDSA_ED25519.rawValue)
  }

  private func extend(_ wish: CertificateWish) throws {
    switch wish.constraints {
    case .none: break
    case .leaf, .authority:
      let isAuthority = wish.constraints == .authority
      // A sequence with the flag, or an empty sequence.
      try extend(
        "2.5.29.19", isAuthority ? [0x30, 3, 1, 1, 0xff] : [0x30, 0], wish.constraintsAreCritical)
    }
    if let usage = wish.usage {
      // A bit string; bit 128 is its first bit.
      let byte = UInt8(truncatingIfNeeded: usage)
      let unused = UInt8(byte == 0 ? 0 : byte.trailingZeroBitCount)
      try extend(
        "2.5.29.15", byte == 0 ? [3, 1, 0] : [3, 2, unused, byte], wish.usageIsCritical)
    }
    for purpose in wish.purposes ?? [] {
      try check(
        gnutls_x509_crt_set_key_purpose_oid(handle, purpose, wish.purposesAreCritical ? 1 : 0),
        "purpose \(purpose)")
    }
    for host in wish.hosts {
      try check(
        gnutls_x509_crt_set_subject_alt_name(
          handle, GNUTLS_SAN_DNSNAME, host, UInt32(host.utf8.count),
          UInt32(GNUTLS_FSAN_APPEND)), "host \(host)")
    }
    if wish.hasUnknownCriticalExtension { try extend("1.2.3.4.5.6", [5, 0], true) }
  }

  private func extend(_ identifier: String, _ content: [UInt8], _ isCritical: Bool) throws {
    try check(
      gnutls_x509_crt_set_extension_by_oid(
        handle, identifier, content, content.count, isCritical ? 1 : 0), "extension \(identifier)")
  }

  public var pem: String {
    get throws { try text { gnutls_x509_crt_export2(handle, GNUTLS_X509_FMT_PEM, $0) } }
  }
  public var keyPEM: String {
    get throws {
      try text { gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, nil, 0, $0) }
    }
  }

  private func text(_ export: (UnsafeMutablePointer<gnutls_datum_t>) -> Int32) throws -> String {
    try pemText(export)
  }

  /// A revocation list with the given certificates, signed by this one.
  public func revocationList(
    _ revoked: [MadeCertificate], validUntil: TimeInterval = 86_400
  ) throws -> String {
    var made: gnutls_x509_crl_t?
    try check(gnutls_x509_crl_init(&made), "revocation list")
    guard let made else { throw MakerTrouble(description: "no revocation list") }
    defer { gnutls_x509_crl_deinit(made) }
    let now = Date().timeIntervalSince1970
    try check(gnutls_x509_crl_set_version(made, 2), "version")
    try check(gnutls_x509_crl_set_this_update(made, time_t(now - 7200)), "date")
    try check(gnutls_x509_crl_set_next_update(made, time_t(now + validUntil)), "next date")
    for certificate in revoked {
      try check(
        gnutls_x509_crl_set_crt(made, certificate.handle, time_t(now - 7200)), "revoking")
    }
    try check(gnutls_x509_crl_sign2(made, handle, key, GNUTLS_DIG_SHA256, 0), "signing")
    return try pemText { gnutls_x509_crl_export2(made, GNUTLS_X509_FMT_PEM, $0) }
  }
}

private func check(_ status: Int32, _ what: String) throws {
  guard status >= 0 else {
    throw MakerTrouble(description: "\(what): \(String(cString: gnutls_strerror(status)))")
  }
}

private func pemText(_ export: (UnsafeMutablePointer<gnutls_datum_t>) -> Int32) throws -> String {
  var datum = gnutls_datum_t()
  try check(export(&datum), "writing")
  defer { free(datum.data) }
  return String(
    decoding: UnsafeBufferPointer(start: datum.data, count: Int(datum.size)), as: UTF8.self)
}

/// Unique serial numbers.
private final class Serial: @unchecked Sendable {
  private let lock = NSLock()
  private var last: UInt32 = 0x0100_0000

  func next() -> [UInt8] {
    lock.withLock {
      last += 1
      return withUnsafeBytes(of: last.bigEndian) { Array($0) }
    }
  }
}
