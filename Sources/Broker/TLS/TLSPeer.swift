// The peer of a TLS session, and whether it is accepted.
import CGnuTLS
import Glibc

/// A client as its certificate and its session describe it.
struct TLSPeer: Sendable, Equatable {
  /// The verified certificate's distinguished name; nil where there is none or it proves nothing.
  var distinguishedName: String?
  /// Protocol version and cipher.
  var parameters: String
  /// Bits of the session's key.
  var keyBits: Int
}

/// What a client's chain of certificates comes to.
struct TLSVerdict: Sendable, Equatable {
  /// The leaf's name, proven or not; nil: no certificate.
  var name: String?
  var faults: [CertificateFault]
  var isRefused: Bool { faults.contains(where: \.isRefusal) }

  /// Everything against a chain whose verification said `trouble` (empty: nothing).
  /// - Parameter chain: leaf first; empty: the client showed none.
  static func of(
    chain: [Certificate], trouble: String, names: NameList?, at now: Int64
  ) -> TLSVerdict {
    guard let leaf = chain.first else {
      return TLSVerdict(name: nil, faults: [.refusal("showed no certificate")])
    }
    var faults = chainFaults(chain, trouble: trouble, at: now)
    // Clients must be distinguishable: in the log, by limits and by the daemons.
    if leaf.subject.isEmpty { faults.append(.refusal("has no distinguished name")) }
    faults += CertificateChecks.name(leaf.subject, in: names)
    faults += CertificateChecks.basicConstraints(of: leaf, as: .client)
    faults += CertificateChecks.keyUsage(of: leaf, as: .client)
    faults += CertificateChecks.purposes(of: leaf, as: .client)
    return TLSVerdict(name: leaf.subject, faults: faults)
  }

  /// What is against a chain whoever shows it.
  static func chainFaults(
    _ chain: [Certificate], trouble: String, at now: Int64
  ) -> [CertificateFault] {
    var faults: [CertificateFault] = []
    if !trouble.isEmpty { faults.append(.refusal("cannot be verified: \(trouble)")) }
    if let leaf = chain.first { faults += CertificateChecks.dates(of: leaf, at: now) }
    for issuer in chain.dropFirst() {
      faults += CertificateChecks.dates(of: issuer, at: now).map {
        CertificateFault(
          weight: $0.weight, text: "has the issuer '\(issuer.subject)', which \($0.text)")
      }
    }
    return faults
  }

  /// The faults of one weight as a sentence about the client; empty where there are none.
  func sentence(_ weight: CertificateFault.Weight) -> String {
    let texts = faults.filter { $0.weight == weight }.map(\.text)
    guard !texts.isEmpty else { return "" }
    return (name.map { "its certificate '\($0)' " } ?? "it ") + texts.joined(separator: ", ")
  }
}

extension TLSSession {
  /// The certificates the other side showed, leaf first.
  func peerChain() throws(TLSError) -> [X509] {
    guard gnutls_certificate_type_get(handle) == GNUTLS_CRT_X509 else {
      throw TLSError("it is no X.509 certificate")
    }
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(handle, &count) else { return [] }
    var chain: [X509] = []
    for index in 0..<Int(count) { chain.append(try X509(der: list + index)) }
    return chain
  }

  /// What is against the server that has finished its handshake, and is to be `host`.
  func verifyServer(host: String, at now: Int64) -> TLSVerdict {
    verdict { leaf, certificates, trouble in
      guard let certificate = certificates.first, let leaf else {
        return TLSVerdict(name: nil, faults: [.refusal("showed no certificate")])
      }
      var faults = TLSVerdict.chainFaults(certificates, trouble: trouble, at: now)
      if !leaf.isFor(host: host) { faults.append(.refusal("is not for the host '\(host)'")) }
      faults += CertificateChecks.basicConstraints(of: certificate, as: .server)
      faults += CertificateChecks.keyUsage(of: certificate, as: .server)
      faults += CertificateChecks.purposes(of: certificate, as: .server)
      return TLSVerdict(name: certificate.subject, faults: faults)
    }
  }

  /// What is against the client that has finished its handshake.
  func verifyClient(at now: Int64) -> TLSVerdict {
    verdict { _, certificates, trouble in
      TLSVerdict.of(chain: certificates, trouble: trouble, names: credentials?.names, at: now)
    }
  }

  private func verdict(
    _ judge: (X509?, [Certificate], String) -> TLSVerdict
  ) -> TLSVerdict {
    do throws(TLSError) {
      let chain = try peerChain()
      var certificates: [Certificate] = []
      for certificate in chain { certificates.append(try certificate.certificate()) }
      var trouble = ""
      if !chain.isEmpty {
        var status: UInt32 = 0
        let result = gnutls_certificate_verify_peers2(handle, &status)
        trouble = result < 0 ? tlsErrorText(result) : verificationText(status)
      }
      return judge(chain.first, certificates, trouble)
    } catch {
      return TLSVerdict(
        name: nil, faults: [.refusal("showed a certificate that cannot be understood: \(error)")])
    }
  }
}
