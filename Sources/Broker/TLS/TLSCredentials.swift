// One generation of the broker's certificates: read, checked and loaded as a whole.
import CGnuTLS
import Glibc
import Streams

/// A certificate of the set, for the log, the reminders and `--check-tls`.
public struct TLSCertificateSummary: Sendable, Equatable {
  public enum Kind: String, Sendable {
    case server, authority
    case revocationList = "revocation list"
  }
  public var kind: Kind
  public var file: String
  public var name: String
  /// Seconds since 1970.
  public var expiration: Int64
  public var fingerprint: [UInt8]

  /// Whole days until it expires.
  public func daysLeft(at now: Int64) -> Int {
    CertificateChecks.days(until: expiration, from: now)
  }

  /// The message about its expiry: a warning in the last 30 days, an error once it has expired.
  func expiry(at now: Int64) -> Message {
    let what =
      kind == .revocationList ? "revocation list" : "\(kind.rawValue) certificate '\(name)'"
    let days = daysLeft(at: now)
    guard days >= 0 else { return Message(.expiryPassed, [file, what, dateText(expiration)]) }
    return Message(
      days <= ExpiryReminder.marks[0] ? .expiryNear : .expiryFarOff,
      [file, what, counted(days, "day"), dateText(expiration)])
  }
}

/// The credentials of handshakes. They never change: a new set of files becomes a new object, and sessions made with
/// the old one keep it.
final class TLSCredentials {
  /// libvirt's limit for a file of certificates.
  static let mostBytes = 64 << 10
  static let mostRevocationBytes = 16 << 20

  let handle: gnutls_certificate_credentials_t
  let priority: TLSPriority
  /// The broker's own certificates first.
  let summaries: [TLSCertificateSummary]
  /// Diagnostics that do not forbid the use of the set.
  let warnings: [Message]
  let names: NameList?
  let refusesClients: Bool
  /// The revocation list in use, which the next generation keeps if the file has disappeared.
  let revocations: RevocationList?

  /// Reads every file and makes every check.
  /// - Parameter old: the revocation list of the previous generation.
  /// - Throws: each error that forbids the use of the set, with the file.
  convenience init(
    _ settings: TLSSettings, at now: Int64, keeping old: RevocationList? = nil
  ) throws(TLSCredentialsError) {
    try self.init(TLSFileSet(settings, at: now, keeping: old), settings)
  }

  init(_ files: TLSFileSet, _ settings: TLSSettings) throws(TLSCredentialsError) {
    var errors = files.errors
    var priority: TLSPriority?
    do { priority = try TLSPriority(settings.priority) } catch { errors.append(error.message) }
    guard errors.isEmpty, let priority else { throw TLSCredentialsError(errors) }
    var made: gnutls_certificate_credentials_t?
    let status = gnutls_certificate_allocate_credentials(&made)
    guard status >= 0, let made else {
      throw TLSCredentialsError(.gnutlsError, [tlsErrorText(status)])
    }
    do {
      try TLSCredentials.load(files, into: made)
    } catch {
      gnutls_certificate_free_credentials(made)
      throw error
    }
    handle = made
    self.priority = priority
    summaries = files.summaries
    warnings = files.warnings
    names = settings.allowedNames.map { NameList($0) }
    refusesClients = settings.refusesClients
    revocations = files.revocations
  }

  deinit { gnutls_certificate_free_credentials(handle) }

  private static func load(
    _ files: TLSFileSet, into handle: gnutls_certificate_credentials_t
  ) throws(TLSCredentialsError) {
    for pair in files.pairs {
      let status = pair.certificates.withDatum { certificates in
        pair.key.withDatum {
          gnutls_certificate_set_x509_key_mem(handle, certificates, $0, GNUTLS_X509_FMT_PEM)
        }
      }
      if status == GNUTLS_E_CERTIFICATE_KEY_MISMATCH {
        throw TLSCredentialsError(
          .keyMismatch, [pair.files.keyFile, pair.files.certificateFile])
      }
      guard status >= 0 else {
        throw TLSCredentialsError(
          .keyUnusable,
          [pair.files.keyFile, pair.files.certificateFile, tlsErrorText(status)])
      }
    }
    let trusted = files.authorities.withDatum {
      gnutls_certificate_set_x509_trust_mem(handle, $0, GNUTLS_X509_FMT_PEM)
    }
    let authorityFile = files.settings.authorityFile
    guard trusted >= 0 else {
      throw TLSCredentialsError(.authoritiesUnusable, [authorityFile, tlsErrorText(trusted)])
    }
    guard trusted > 0 else { throw TLSCredentialsError(.noAuthorities, [authorityFile]) }
    if let revoked = files.revocations {
      let count = revoked.bytes.withDatum {
        gnutls_certificate_set_x509_crl_mem(handle, $0, GNUTLS_X509_FMT_PEM)
      }
      guard count >= 0 else {
        throw TLSCredentialsError(.revocationListUnusable, [revoked.path, tlsErrorText(count)])
      }
      guard count > 0 else { throw TLSCredentialsError(.noRevocationList, [revoked.path]) }
    }
    // GnuTLS verifies any chain to a trusted authority with the keys in the chain.
    gnutls_certificate_set_verify_limits(
      handle, UInt32(ChainLimits.rsaBits), UInt32(ChainLimits.certificates))
  }
}

/// Why a set of files is not used: one or more errors.
struct TLSCredentialsError: Error, Equatable, CustomStringConvertible {
  let errors: [Message]
  init(_ errors: [Message]) { self.errors = errors }
  init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible]) {
    errors = [Message(definition, arguments)]
  }
  var message: Message { Message(joining: errors) }
  var description: String { message.text }
}
