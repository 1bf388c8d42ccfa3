// One generation of the broker's certificates: read, checked and loaded as a whole.
import CGnuTLS
import Glibc

/// A certificate of the set, for the log, the reminders and the doctor.
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

  /// Whole days it is still good for.
  public func daysLeft(at now: Int64) -> Int {
    CertificateChecks.days(until: expiration, from: now)
  }
}

/// What handshakes are made with. Never changes; a new set of files becomes a new one of these, and
/// sessions made with the old one keep it.
final class TLSCredentials {
  /// libvirt's limit for a file of certificates.
  static let mostBytes = 64 << 10
  static let mostRevocationBytes = 16 << 20

  let handle: gnutls_certificate_credentials_t
  let priority: TLSPriority
  /// The broker's own certificates first.
  let summaries: [TLSCertificateSummary]
  /// What is not right but does not forbid their use: whole sentences.
  let warnings: [String]
  let names: NameList?
  let refusesClients: Bool
  /// The revocation list in use, for the next generation to keep where the file has disappeared.
  let revocations: RevocationList?

  /// Reads every file and makes every check.
  /// - Parameter old: the revocation list of the generation before.
  /// - Throws: each thing that forbids the use of the set, naming the file.
  convenience init(
    _ settings: TLSSettings, at now: Int64, keeping old: RevocationList? = nil
  ) throws(TLSRefusal) {
    try self.init(TLSFileSet(settings, at: now, keeping: old), settings)
  }

  init(_ files: TLSFileSet, _ settings: TLSSettings) throws(TLSRefusal) {
    var refusals = files.refusals
    var priority: TLSPriority?
    do { priority = try TLSPriority(settings.priority) } catch {
      refusals.append("tls_priority \(error)")
    }
    guard refusals.isEmpty, let priority else { throw TLSRefusal(refusals) }
    var made: gnutls_certificate_credentials_t?
    let status = gnutls_certificate_allocate_credentials(&made)
    guard status >= 0, let made else { throw TLSRefusal([tlsErrorText(status)]) }
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
  ) throws(TLSRefusal) {
    for pair in files.pairs {
      let status = pair.certificates.withDatum { certificates in
        pair.key.withDatum {
          gnutls_certificate_set_x509_key_mem(handle, certificates, $0, GNUTLS_X509_FMT_PEM)
        }
      }
      if status == GNUTLS_E_CERTIFICATE_KEY_MISMATCH {
        throw TLSRefusal([
          "the key in \(pair.files.keyFile) does not belong to the certificate in "
            + pair.files.certificateFile
        ])
      }
      guard status >= 0 else {
        throw TLSRefusal([
          "the key in \(pair.files.keyFile) with the certificate in "
            + "\(pair.files.certificateFile) cannot be used: \(tlsErrorText(status))"
        ])
      }
    }
    let trusted = files.authorities.withDatum {
      gnutls_certificate_set_x509_trust_mem(handle, $0, GNUTLS_X509_FMT_PEM)
    }
    guard trusted > 0 else {
      throw TLSRefusal([
        "the certificate authorities in \(files.settings.authorityFile) cannot be used: "
          + (trusted < 0 ? tlsErrorText(trusted) : "there are none")
      ])
    }
    if let revoked = files.revocations {
      let count = revoked.bytes.withDatum {
        gnutls_certificate_set_x509_crl_mem(handle, $0, GNUTLS_X509_FMT_PEM)
      }
      guard count > 0 else {
        throw TLSRefusal([
          "the revocation list in \(files.settings.revocationFile ?? "") cannot be used: "
            + (count < 0 ? tlsErrorText(count) : "there is none")
        ])
      }
    }
    // Whatever leads to a trusted authority is verified by GnuTLS with the keys in the chain.
    gnutls_certificate_set_verify_limits(
      handle, UInt32(ChainLimits.rsaBits), UInt32(ChainLimits.certificates))
  }
}

/// Why a set of files is not used: a sentence for each reason.
struct TLSRefusal: Error, Equatable, CustomStringConvertible {
  let reasons: [String]
  init(_ reasons: [String]) { self.reasons = reasons }
  var description: String { reasons.joined(separator: "; ") }
}
