// The files of one generation of certificates. They are read once, so that the checked content is the content in use.
import CGnuTLS
import Glibc
import Streams

/// A revocation list and the file that it was read from.
struct RevocationList: Sendable, Equatable {
  let path: String
  let bytes: [UInt8]
}

/// The contents of every file, and the diagnostics of the checks.
struct TLSFileSet {
  struct Pair {
    let files: TLSSettings.Pair
    let certificates: [UInt8]
    let key: [UInt8]
  }

  let settings: TLSSettings
  /// The role of the broker's own certificates.
  private let role: CertificateRole
  private(set) var pairs: [Pair] = []
  private(set) var authorities: [UInt8] = []
  private(set) var revocations: RevocationList?
  /// Each of them forbids the use of the set.
  private(set) var errors: [Message] = []
  private(set) var warnings: [Message] = []
  private(set) var summaries: [TLSCertificateSummary] = []

  /// - Parameter old: the revocation list that has been in use until now.
  init(
    _ settings: TLSSettings, as role: CertificateRole = .server, at now: Int64,
    keeping old: RevocationList? = nil
  ) {
    self.settings = settings
    self.role = role
    var own: [(TLSSettings.Pair, [X509])] = []
    for pair in settings.pairs {
      let certificates = read(pair.certificateFile, TLSCredentials.mostBytes)
      let key = readKey(pair.keyFile)
      guard let certificates else { continue }
      if let key { pairs.append(Pair(files: pair, certificates: certificates, key: key)) }
      own.append((pair, list(certificates, pair.certificateFile)))
    }
    if settings.pairs.isEmpty, role == .server {
      errors.append(Message(.noServerCertificate))
    }
    var trusted: [X509] = []
    if let bytes = read(settings.authorityFile, TLSCredentials.mostBytes) {
      authorities = bytes
      trusted = list(bytes, settings.authorityFile)
    }
    readRevocations(at: now, keeping: old)
    for (pair, chain) in own { check(chain, pair, trusted, at: now) }
    for authority in trusted {
      check(authority, settings.authorityFile, as: .authority, at: now)
    }
  }

  private mutating func read(_ path: String, _ limit: Int) -> [UInt8]? {
    do throws(TLSError) { return try readFile(path, limit: limit) } catch {
      errors.append(error.message)
      return nil
    }
  }

  /// A user who can read the key can impersonate this broker.
  private mutating func readKey(_ path: String) -> [UInt8]? {
    var status = stat()
    if stat(path, &status) == 0, status.st_mode & 0o004 != 0 {
      warnings.append(Message(.keyReadableByOthers, [path, path]))
    }
    return read(path, TLSCredentials.mostBytes)
  }

  private mutating func list(_ bytes: [UInt8], _ path: String) -> [X509] {
    do throws(TLSError) {
      let list = try X509.list(pem: bytes)
      if list.isEmpty { errors.append(Message(.noCertificateInFile, [path])) }
      return list
    } catch {
      errors.append(Message(.certificatesNotDecoded, [path, error.message]))
      return []
    }
  }

  /// The first certificate is the broker's own. Together with those after it, it must lead to an authority.
  private mutating func check(
    _ chain: [X509], _ pair: TLSSettings.Pair, _ authorities: [X509], at now: Int64
  ) {
    guard let leaf = chain.first else { return }
    check(leaf, pair.certificateFile, as: role, at: now)
    guard settings.checksOwnCertificates, !authorities.isEmpty else { return }
    guard let error = X509.error(inChain: chain, from: authorities) else { return }
    errors.append(
      Message(.ownChainIncomplete, [pair.certificateFile, settings.authorityFile, error]))
  }

  private mutating func check(
    _ certificate: X509, _ path: String, as role: CertificateRole, at now: Int64
  ) {
    do throws(TLSError) {
      let certificate = try certificate.certificate()
      summaries.append(
        TLSCertificateSummary(
          kind: role == .authority ? .authority : .server, file: path, name: certificate.subject,
          expiration: certificate.expiration, fingerprint: certificate.fingerprint))
      guard settings.checksOwnCertificates else { return }
      for diagnostic in CertificateChecks.diagnostics(of: certificate, as: role, at: now) {
        let named = diagnostic.prefixed("\(path): certificate '\(certificate.subject)': ")
        if named.severity == .error { errors.append(named) } else { warnings.append(named) }
      }
    } catch {
      errors.append(Message(.certificateNotDecoded, [path, error.message]))
    }
  }

  /// A revocation list in use stays in use if its file has disappeared. Otherwise the broker would accept the clients
  /// that it revokes.
  private mutating func readRevocations(at now: Int64, keeping old: RevocationList?) {
    guard let path = settings.revocationFile else { return }
    let bytes: [UInt8]
    if settings.mayLackRevocationFile, access(path, F_OK) != 0, errno == ENOENT {
      guard let old, old.path == path else { return }
      warnings.append(Message(.revocationListMissing, [path]))
      bytes = old.bytes
    } else {
      guard let read = read(path, TLSCredentials.mostRevocationBytes) else { return }
      bytes = read
    }
    revocations = RevocationList(path: path, bytes: bytes)
    var list: UnsafeMutablePointer<gnutls_x509_crl_t?>?
    var count: UInt32 = 0
    let status = bytes.withDatum {
      gnutls_x509_crl_list_import2(&list, &count, $0, GNUTLS_X509_FMT_PEM, 0)
    }
    guard status >= 0, count > 0, let list else {
      errors.append(
        status < 0
          ? Message(.revocationListNotDecoded, [path, tlsErrorText(status)])
          : Message(.noRevocationList, [path]))
      return
    }
    defer { free(list) }
    for index in 0..<Int(count) {
      guard let crl = list[index] else { continue }
      defer { gnutls_x509_crl_deinit(crl) }
      let next = gnutls_x509_crl_get_next_update(crl)
      guard next != -1 else { continue }
      summaries.append(
        TLSCertificateSummary(
          kind: .revocationList, file: path, name: "", expiration: Int64(next), fingerprint: []))
      guard Int64(next) < now else { continue }
      warnings.append(Message(.revocationListOutdated, [path, dateText(Int64(next))]))
    }
  }
}
