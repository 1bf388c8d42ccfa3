// Checks everything that TLS needs: files, settings, and what a running broker presents.
import CGnuTLS
import Glibc
public import Streams

/// The checks of `--check-tls`.
public enum TLSDoctor {
  /// One diagnostic of the checks.
  public struct Diagnostic: Sendable, Equatable {
    public enum Mark: String, Sendable { case ok, warning, fault }
    public let message: Message

    public init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
      message = Message(definition, arguments)
    }
    public init(_ message: Message) { self.message = message }

    /// A fault keeps TLS from working.
    public var mark: Mark {
      switch message.severity {
      case .debug, .info: .ok
      case .warning: .warning
      case .error: .fault
      }
    }
  }

  /// Time limit in seconds of each step with a running broker.
  private static let patience = 5

  /// Checks the files and the settings, without a running broker.
  public static func examine(_ settings: TLSSettings) -> [Diagnostic] {
    let now = TLSAcceptor.now
    let files = TLSFileSet(settings, at: now)
    var messages = files.summaries.map { $0.expiry(at: now) }
    messages += files.warnings
    do throws(TLSCredentialsError) {
      let credentials = try TLSCredentials(files, settings)
      messages.append(Message(.filesConsistent))
      messages.append(Message(.priorityInEffect, [credentials.priority.text]))
    } catch {
      messages += error.errors
    }
    for pair in settings.pairs { messages += permissions(of: pair.keyFile) }
    messages += names(settings) + policy(settings)
    return messages.map { Diagnostic($0) }
  }

  /// A user who can write to the key or its directory can impersonate this host.
  private static func permissions(of path: String) -> [Message] {
    var messages: [Message] = []
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let directory = slash == path.startIndex ? "/" : String(path[..<slash])
    for (name, forbidden) in [(path, UInt32(0o022)), (directory, 0o022)] {
      var status = stat()
      guard stat(name, &status) == 0 else { continue }
      let isSticky = status.st_mode & S_ISVTX != 0
      if status.st_mode & forbidden != 0, !isSticky {
        messages.append(Message(.fileWritableByOthers, [name, name]))
      }
      if status.st_uid != 0, status.st_uid != geteuid() {
        messages.append(Message(.fileOwnedByOther, [name, status.st_uid]))
      }
    }
    return messages
  }

  /// Whether clients will find this host's name in the certificates.
  private static func names(_ settings: TLSSettings) -> [Message] {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return [] }
    let host = String(
      decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return settings.pairs.compactMap { pair in
      guard let bytes = try? readFile(pair.certificateFile, limit: TLSCredentials.mostBytes),
        let leaf = (try? X509.list(pem: bytes))?.first
      else { return nil }
      return Message(
        leaf.isFor(host: host) ? .validForThisHost : .notForThisHost,
        [pair.certificateFile, host])
    }
  }

  private static func policy(_ settings: TLSSettings) -> [Message] {
    var messages: [Message] = []
    if !settings.refusesClients { messages.append(Message(.verificationDisabled)) }
    switch settings.allowedNames {
    case nil: messages.append(Message(.allNamesAllowed))
    case let names? where names.isEmpty: messages.append(Message(.noNameAllowed))
    case let names?:
      for name in names where name.contains(", ") && !name.contains("\\, ") {
        messages.append(Message(.allowedNameWithSpace, [name]))
      }
      messages.append(Message(.namesAllowed, [counted(names.count, "name")]))
    }
    if settings.revocationFile == nil { messages.append(Message(.noRevocationListConfigured)) }
    return messages
  }

  /// Checks what a broker presents to its clients, and compares it with the files.
  public static func examine(
    host: String, port: String, against settings: TLSSettings
  ) -> [Diagnostic] {
    let place = "\(host) port \(port): "
    do throws(TLSError) {
      let served = try ask(host, port)
      let parameters = Message(.servesTLS, [host, port, served.parameters])
      guard let leaf = served.chain.first else {
        return [Diagnostic(parameters), Diagnostic(Message(.noPeerCertificate).prefixed(place))]
      }
      let certificate = try leaf.certificate()
      var messages = [Message(leaf.isFor(host: host) ? .validForHost : .notForHost, [host])]
      let diagnostics = CertificateChecks.diagnostics(
        of: certificate, as: .server, at: TLSAcceptor.now)
      messages += diagnostics.isEmpty ? [Message(.allChecksPassed)] : diagnostics
      messages += compare(served.chain, certificate, settings)
      return [Diagnostic(parameters)]
        + messages.map {
          Diagnostic($0.prefixed("\(place)certificate '\(certificate.subject)': "))
        }
    } catch {
      return [Diagnostic(error.message.prefixed(place))]
    }
  }

  private static func compare(
    _ chain: [X509], _ certificate: Certificate, _ settings: TLSSettings
  ) -> [Message] {
    var messages: [Message] = []
    if let bytes = try? readFile(settings.authorityFile, limit: TLSCredentials.mostBytes),
      let authorities = try? X509.list(pem: bytes)
    {
      let file = settings.authorityFile
      messages.append(
        X509.error(inChain: chain, from: authorities).map {
          Message(.leadsToNoAuthority, [file, $0])
        } ?? Message(.leadsToAuthority, [file]))
    }
    let own = TLSFileSet(settings, at: TLSAcceptor.now).summaries.filter { $0.kind == .server }
    if let same = own.first(where: { $0.fingerprint == certificate.fingerprint }) {
      messages.append(Message(.isConfiguredCertificate, [same.file]))
    } else if !own.isEmpty {
      messages.append(Message(.isNotConfiguredCertificate))
    }
    return messages
  }

  /// Makes a handshake as a client without a certificate.
  private static func ask(
    _ host: String, _ port: String
  ) throws(TLSError) -> (chain: [X509], parameters: String) {
    let addresses: [Address]
    do throws(BrokerFailure) { addresses = try Address.resolve(host: host, port: port) } catch {
      throw TLSError(error.message)
    }
    var failure = Message(.noAddressOfHost)
    for address in addresses {
      let descriptor = Descriptor(
        socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
      var limit = timeval(tv_sec: patience, tv_usec: 0)
      for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
        setsockopt(
          descriptor.number, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
      }
      guard address.withPointer({ connect(descriptor.number, $0, $1) }) == 0 else {
        failure = Message(.hostNotReachable, [address.text, errorText(errno)])
        continue
      }
      let session = try TLSSession(asking: descriptor)
      if let error = session.handshakeAndWait() {
        failure = error
        continue
      }
      return (try session.peerChain(), session.parameters)
    }
    throw TLSError(failure)
  }
}
