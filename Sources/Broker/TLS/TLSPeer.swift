// The peer of a TLS session, and whether it is accepted.
import CGnuTLS
import Glibc
import Streams

/// A client, as its certificate and its session describe it.
struct TLSPeer: Sendable, Equatable {
  /// The verified certificate's distinguished name; nil: there is no certificate, or it is not verified.
  var distinguishedName: String?
  /// Protocol version and cipher.
  var parameters: String
  /// Bits of the session's key.
  var keyBits: Int
}

/// The result of the checks of a peer's certificates.
struct TLSPeerCheck: Sendable, Equatable {
  /// The leaf's name, verified or not; nil: no certificate.
  var name: String?
  /// The peer is refused if one of them is an error.
  var diagnostics: [Message]
  var isRefused: Bool { diagnostics.contains { $0.severity == .error } }

  /// The check of a client.
  /// - Parameters:
  ///   - chain: leaf first; empty: the client sent none.
  ///   - error: why the verification of the chain failed; nil: it succeeded.
  static func of(
    chain: [Certificate], error: Message?, names: NameList?, at now: Int64
  ) -> TLSPeerCheck {
    guard let leaf = chain.first else {
      return TLSPeerCheck(name: nil, diagnostics: [Message(.noPeerCertificate)])
    }
    var diagnostics = chainDiagnostics(chain, error: error, at: now)
    // Clients must be distinguishable: in the log, by limits and by the daemons.
    if leaf.subject.isEmpty { diagnostics.append(Message(.noDistinguishedName)) }
    diagnostics += CertificateChecks.name(leaf.subject, in: names)
    diagnostics += CertificateChecks.basicConstraints(of: leaf, as: .client)
    diagnostics += CertificateChecks.keyUsage(of: leaf, as: .client)
    diagnostics += CertificateChecks.purposes(of: leaf, as: .client)
    return TLSPeerCheck(name: leaf.subject, diagnostics: diagnostics)
  }

  /// The diagnostics of a chain that do not depend on its role.
  static func chainDiagnostics(
    _ chain: [Certificate], error: Message?, at now: Int64
  ) -> [Message] {
    var diagnostics: [Message] = []
    if let error { diagnostics.append(Message(.peerNotVerified, [error])) }
    if let leaf = chain.first { diagnostics += CertificateChecks.dates(of: leaf, at: now) }
    for issuer in chain.dropFirst() {
      diagnostics += CertificateChecks.dates(of: issuer, at: now).map {
        Message(.issuerDiagnostic, [issuer.subject, $0])
      }
    }
    return diagnostics
  }

  /// The diagnostics of one severity in one message, with the certificate's name; nil: there are none.
  func diagnostics(_ severity: Severity) -> Message? {
    let chosen = diagnostics.filter { $0.severity == severity }
    guard !chosen.isEmpty else { return nil }
    let joined = Message(joining: chosen)
    return name.map { joined.prefixed("certificate '\($0)': ") } ?? joined
  }
}

extension TLSSession {
  /// The certificates that the peer presented, leaf first.
  func peerChain() throws(TLSError) -> [X509] {
    guard gnutls_certificate_type_get(handle) == GNUTLS_CRT_X509 else {
      throw TLSError(.notX509)
    }
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(handle, &count) else { return [] }
    var chain: [X509] = []
    for index in 0..<Int(count) { chain.append(try X509(der: list + index)) }
    return chain
  }

  /// Checks the server that has finished its handshake; its name must be `host`.
  func verifyServer(host: String, at now: Int64) -> TLSPeerCheck {
    checked { leaf, certificates, error in
      guard let certificate = certificates.first, let leaf else {
        return TLSPeerCheck(name: nil, diagnostics: [Message(.noPeerCertificate)])
      }
      var diagnostics = TLSPeerCheck.chainDiagnostics(certificates, error: error, at: now)
      if !leaf.isFor(host: host) { diagnostics.append(Message(.notForHost, [host])) }
      diagnostics += CertificateChecks.basicConstraints(of: certificate, as: .server)
      diagnostics += CertificateChecks.keyUsage(of: certificate, as: .server)
      diagnostics += CertificateChecks.purposes(of: certificate, as: .server)
      return TLSPeerCheck(name: certificate.subject, diagnostics: diagnostics)
    }
  }

  /// Checks the client that has finished its handshake.
  func verifyClient(at now: Int64) -> TLSPeerCheck {
    checked { _, certificates, error in
      TLSPeerCheck.of(chain: certificates, error: error, names: credentials?.names, at: now)
    }
  }

  private func checked(
    _ check: (X509?, [Certificate], Message?) -> TLSPeerCheck
  ) -> TLSPeerCheck {
    do throws(TLSError) {
      let chain = try peerChain()
      var certificates: [Certificate] = []
      for certificate in chain { certificates.append(try certificate.certificate()) }
      var error: Message?
      if !chain.isEmpty {
        var status: UInt32 = 0
        let result = gnutls_certificate_verify_peers2(handle, &status)
        error = X509.error(ofVerification: result, status)
      }
      return check(chain.first, certificates, error)
    } catch {
      return TLSPeerCheck(
        name: nil, diagnostics: [Message(.peerCertificateNotDecoded, [error.message])])
    }
  }
}
