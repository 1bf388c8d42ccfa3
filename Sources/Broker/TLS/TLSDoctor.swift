// Looks at everything TLS needs and says what to do about what is wrong.
import CGnuTLS
import Glibc
import Streams

/// The examination behind `--check-tls`.
public enum TLSDoctor {
  public struct Finding: Sendable, Equatable {
    public enum Mark: String, Sendable {
      case fine = "ok"
      case warning
      case fault
    }
    public var mark: Mark
    public var text: String

    public init(mark: Mark, text: String) {
      self.mark = mark
      self.text = text
    }

    static func fine(_ text: String) -> Finding { Finding(mark: .fine, text: text) }
    static func warning(_ text: String) -> Finding { Finding(mark: .warning, text: text) }
    static func fault(_ text: String) -> Finding { Finding(mark: .fault, text: text) }
  }

  /// Seconds that each step of asking a broker may take.
  private static let patience = 5

  /// What can be said without a running broker.
  public static func examine(_ settings: TLSSettings) -> [Finding] {
    let now = TLSAcceptor.now
    let files = TLSFileSet(settings, at: now)
    var findings: [Finding] = []
    for summary in files.summaries {
      let sentence = TLSAcceptor.sentence(summary, at: now)
      let days = summary.daysLeft(at: now)
      if days < 0 {
        findings.append(.fault("\(sentence): renew it and send the broker a HUP signal"))
      } else if days <= ExpiryReminder.marks[0] {
        findings.append(.warning("\(sentence): renew it in time"))
      } else {
        findings.append(.fine(sentence))
      }
    }
    findings += files.warnings.map { .warning($0) }
    do throws(TLSRefusal) {
      let credentials = try TLSCredentials(files, settings)
      findings.append(.fine("keys, chains and revocation lists fit together"))
      findings.append(.fine("priority \(credentials.priority.text)"))
    } catch {
      findings += error.reasons.map { .fault($0) }
    }
    for pair in settings.pairs { findings += permissions(of: pair.keyFile) }
    return findings + names(settings) + policy(settings)
  }

  /// A user that can write the key or its directory can impersonate this host.
  private static func permissions(of path: String) -> [Finding] {
    var findings: [Finding] = []
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let directory = slash == path.startIndex ? "/" : String(path[..<slash])
    for (name, forbidden) in [(path, UInt32(0o022)), (directory, 0o022)] {
      var status = stat()
      guard stat(name, &status) == 0 else { continue }
      let isSticky = status.st_mode & S_ISVTX != 0
      if status.st_mode & forbidden != 0, !isSticky {
        findings.append(.warning("\(name) can be written by others: chmod go-w \(name)"))
      }
      if status.st_uid != 0, status.st_uid != geteuid() {
        findings.append(.warning("\(name) belongs to user \(status.st_uid): chown it"))
      }
    }
    return findings
  }

  /// Whether clients will find this host's name in the certificates.
  private static func names(_ settings: TLSSettings) -> [Finding] {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return [] }
    let host = String(
      decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return settings.pairs.compactMap { pair in
      guard let bytes = try? readFile(pair.certificateFile, limit: TLSCredentials.mostBytes),
        let leaf = (try? X509.list(pem: bytes))?.first
      else { return nil }
      return leaf.isFor(host: host)
        ? .fine("\(pair.certificateFile) is for this host, '\(host)'")
        : .warning(
          "\(pair.certificateFile) is not for '\(host)', the name of this host: clients that connect "
            + "to that name refuse it; --connect HOST checks the name they use")
    }
  }

  private static func policy(_ settings: TLSSettings) -> [Finding] {
    var findings: [Finding] = []
    if !settings.refusesClients {
      findings.append(
        .warning("tls_no_verify_certificate is set: everybody who reaches the port comes in"))
    }
    switch settings.allowedNames {
    case nil:
      findings.append(
        .fine("tls_allowed_dn_list is not set: every client with a certificate of the authority"))
    case let names? where names.isEmpty:
      findings.append(
        .fault("tls_allowed_dn_list is empty, which admits nobody: fill it or take it out"))
    case let names?:
      for name in names where name.contains(", ") && !name.contains("\\, ") {
        findings.append(
          .warning(
            "tls_allowed_dn_list: '\(name)' has a space behind a comma; names are compared without: "
              + "O=Acme,CN=client"))
      }
      findings.append(.fine("tls_allowed_dn_list has \(counted(names.count, "name"))"))
    }
    if settings.revocationFile == nil {
      findings.append(.fine("no revocation list is used"))
    }
    return findings
  }

  /// What a broker really shows to its clients, compared with the files.
  public static func examine(
    host: String, port: String, against settings: TLSSettings
  ) -> [Finding] {
    let place = "\(host) port \(port)"
    do throws(TLSError) {
      let served = try ask(host, port)
      var findings = [Finding.fine("\(place) serves \(served.parameters)")]
      guard let leaf = served.chain.first else {
        return findings + [.fault("\(place) shows no certificate")]
      }
      let certificate = try leaf.certificate()
      let now = TLSAcceptor.now
      let what = "\(place): the certificate '\(certificate.subject)'"
      if leaf.isFor(host: host) {
        findings.append(.fine("\(what) is for '\(host)'"))
      } else {
        findings.append(
          .fault(
            "\(what) is not for '\(host)': make one with that subject alternative name"))
      }
      let faults = CertificateChecks.faults(of: certificate, as: .server, at: now)
      findings += faults.map {
        $0.isRefusal ? .fault("\(what) \($0.text)") : .warning("\(what) \($0.text)")
      }
      if faults.isEmpty { findings.append(.fine("\(what) passes every check")) }
      findings += compare(served.chain, certificate, settings, what)
      return findings
    } catch {
      return [.fault("\(place): \(error)")]
    }
  }

  private static func compare(
    _ chain: [X509], _ certificate: Certificate, _ settings: TLSSettings, _ what: String
  ) -> [Finding] {
    var findings: [Finding] = []
    if let bytes = try? readFile(settings.authorityFile, limit: TLSCredentials.mostBytes),
      let authorities = try? X509.list(pem: bytes)
    {
      let trouble = X509.trouble(ofChain: chain, from: authorities)
      findings.append(
        trouble.isEmpty
          ? .fine("\(what) leads to an authority in \(settings.authorityFile)")
          : .fault("\(what) does not lead to an authority in \(settings.authorityFile): \(trouble)")
      )
    }
    let own = TLSFileSet(settings, at: TLSAcceptor.now).summaries.filter { $0.kind == .server }
    if let same = own.first(where: { $0.fingerprint == certificate.fingerprint }) {
      findings.append(.fine("\(what) is the one in \(same.file)"))
    } else if !own.isEmpty {
      findings.append(
        .warning(
          "\(what) is in none of the configured files: another daemon answers there, or it has not "
            + "taken the files into use; its log says why"))
    }
    return findings
  }

  /// Makes a handshake as a client that knows nothing yet.
  private static func ask(
    _ host: String, _ port: String
  ) throws(TLSError) -> (chain: [X509], parameters: String) {
    let addresses: [Address]
    do throws(BrokerFailure) { addresses = try Address.resolve(host: host, port: port) } catch {
      throw TLSError(error.description)
    }
    var why = "no address"
    for address in addresses {
      let descriptor = Descriptor(
        socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
      var limit = timeval(tv_sec: patience, tv_usec: 0)
      for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
        setsockopt(
          descriptor.number, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
      }
      guard address.withPointer({ connect(descriptor.number, $0, $1) }) == 0 else {
        why = "nobody can be reached at \(address.text): \(errorText(errno))"
        continue
      }
      let session = try TLSSession(asking: descriptor)
      if let reason = session.handshakeAndWait() {
        why = reason
        continue
      }
      return (try session.peerChain(), session.parameters)
    }
    throw TLSError(why)
  }
}
