// Clients' certificates in real handshakes: which are accepted, and the reasons for refusals.
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("Clients' certificates")
struct PeerCertificateTests {
  struct Row: Sendable, CustomTestStringConvertible {
    typealias Make = @Sendable (MadeCertificate) throws -> ClientIdentity
    let name: String
    let refusal: String
    let warning: String
    let names: [String]?
    let make: Make
    var testDescription: String { name }

    init(
      _ name: String, refusal: String = "", warning: String = "", names: [String]? = nil,
      make: @escaping Make
    ) {
      self.name = name
      self.refusal = refusal
      self.warning = warning
      self.names = names
      self.make = make
    }

    /// A certificate that differs from a good one.
    init(
      _ name: String, refusal: String = "", warning: String = "", names: [String]? = nil,
      changed: @escaping @Sendable (inout CertificateWish) -> Void
    ) {
      self.init(
        name, refusal: refusal, warning: warning, names: names,
        make: { root in
          try ClientIdentity(
            MadeCertificate(.client("CN=c1,O=Acme").with(changed), from: root))
        })
    }
  }

  private static let its = "its certificate 'O=Acme,CN=c1' "
  private static let lack =
    "extended key usage without the purpose TLS client (1.3.6.1.5.5.7.3.2)"

  static let rows: [Row] = [
    Row("libvirt's guide", changed: { _ in }),
    Row("RSA", changed: { $0.key = .rsa }),
    Row("digital signature only, critical", changed: { $0.usage = 128 }),
    Row(
      "no extensions",
      make: { try ClientIdentity(MadeCertificate(CertificateWish("CN=c1"), from: $0)) }),
    Row("no certificate", refusal: "it showed no certificate", make: { _ in ClientIdentity() }),
    Row(
      "expired",
      refusal: "\(its)cannot be verified: it or one of its issuers has expired, has expired on",
      changed: { $0.validUntil = -60 }),
    Row(
      "not yet valid",
      refusal:
        "\(its)cannot be verified: it or one of its issuers is not valid yet, is not valid before",
      changed: { $0.validFrom = 3600 }),
    Row(
      "an authority's",
      refusal:
        "\(its)has basic constraints that make it a certificate authority, and is to be a client's",
      changed: { $0.constraints = .authority }),
    Row(
      "a server's purpose, critical", refusal: "\(its)has a critical \(lack)",
      changed: {
        ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.serverPurpose], true)
      }),
    Row(
      "a server's purpose, not critical", warning: "\(its)has an \(lack)",
      changed: { $0.purposes = [CertificateWish.serverPurpose] }),
    Row(
      "both purposes, critical",
      changed: {
        $0.purposes = [CertificateWish.serverPurpose, CertificateWish.clientPurpose]
        $0.purposesAreCritical = true
      }),
    Row(
      "e-mail protection, critical",
      changed: { ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.emailPurpose], true) }),
    Row(
      "any purpose, critical", refusal: "\(its)has a critical \(lack)",
      changed: { ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.anyPurpose], true) }),
    Row(
      "an unknown critical extension",
      refusal: "\(its)cannot be verified: it has an unknown critical extension",
      changed: { $0.hasUnknownCriticalExtension = true }),
    Row(
      "another authority's", refusal: "\(its)cannot be verified: its issuer is not known",
      make: { _ in
        try ClientIdentity(
          MadeCertificate(
            .client("CN=c1,O=Acme"), from: MadeCertificate(.authority("CN=Other CA"))))
      }),
    Row(
      "an authority of the same name and another key", refusal: "\(its)cannot be verified: ",
      make: { _ in
        try ClientIdentity(
          MadeCertificate(
            .client("CN=c1,O=Acme"), from: MadeCertificate(.authority("CN=Test CA"))))
      }),
    Row(
      "self-signed", refusal: "\(its)cannot be verified: its issuer is not known",
      make: { _ in try ClientIdentity(MadeCertificate(.client("CN=c1,O=Acme"))) }),
    Row(
      "an intermediate authority that comes along",
      make: { root in
        let middle = try MadeCertificate(.authority("CN=Middle"), from: root)
        return try ClientIdentity(
          MadeCertificate(.client("CN=c1,O=Acme"), from: middle), chain: [middle])
      }),
    Row(
      "two intermediate authorities",
      make: { root in
        let first = try MadeCertificate(.authority("CN=First"), from: root)
        let second = try MadeCertificate(.authority("CN=Second"), from: first)
        return try ClientIdentity(
          MadeCertificate(.client("CN=c1,O=Acme"), from: second), chain: [second, first])
      }),
    Row(
      "an intermediate authority that does not come along",
      refusal: "\(its)cannot be verified: its issuer is not known",
      make: { root in
        let middle = try MadeCertificate(.authority("CN=Middle"), from: root)
        return try ClientIdentity(MadeCertificate(.client("CN=c1,O=Acme"), from: middle))
      }),
    Row(
      "an intermediate that is no authority",
      refusal: "\(its)cannot be verified: its issuer is no certificate authority",
      make: { root in
        let middle = try MadeCertificate(.client("CN=Middle"), from: root)
        return try ClientIdentity(
          MadeCertificate(.client("CN=c1,O=Acme"), from: middle), chain: [middle])
      }),
    Row(
      "an expired intermediate",
      refusal: "\(its)cannot be verified: it or one of its issuers has expired, has the issuer "
        + "'CN=Middle', which has expired on",
      make: { root in
        let middle = try MadeCertificate(
          .authority("CN=Middle").with { $0.validUntil = -60 }, from: root)
        return try ClientIdentity(
          MadeCertificate(.client("CN=c1,O=Acme"), from: middle), chain: [middle])
      }),
    Row("a list that names it", names: ["O=Other,CN=c1", "O=Acme,CN=c1"], changed: { _ in }),
    Row("a list with a pattern for it", names: ["O=Acme,CN=*"], changed: { _ in }),
    Row("a pattern of one character", names: ["O=Acme,CN=c?"], changed: { _ in }),
    Row(
      "a list of others",
      refusal: "\(its)has a distinguished name that no entry of tls_allowed_dn_list matches",
      names: ["O=Acme,CN=c2", "CN=c1", "O=Acme,CN=c1?"], changed: { _ in }),
    Row(
      "a list that differs in case",
      refusal: "\(its)has a distinguished name that no entry of tls_allowed_dn_list matches",
      names: ["o=acme,cn=c1"], changed: { _ in }),
    Row(
      "an empty list",
      refusal: "\(its)cannot come in: tls_allowed_dn_list is empty, which admits nobody",
      names: [], changed: { _ in }),
    Row(
      "a name with a comma, escaped as in the list", names: ["O=Acme\\, Inc,CN=c1"],
      changed: { $0.name = "CN=c1,O=Acme\\, Inc" }),
    Row(
      "everything wrong at once",
      refusal: "\(its)has a distinguished name that no entry of tls_allowed_dn_list matches, "
        + "has basic constraints that make it a certificate authority, and is to be a client's, "
        + "has a critical \(lack)",
      names: ["CN=nobody"],
      changed: {
        $0.constraints = .authority
        ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.serverPurpose], true)
      }),
  ]

  @Test(
    "a client's certificate is accepted or refused, with the reason", arguments: rows,
    ["NORMAL:-VERS-TLS1.3", "NORMAL"])
  func verified(row: Row, priority: String) throws {
    let authority = try Authority()
    var settings = try authority.serve()
    settings.allowedNames = row.names
    let verdict = try verdict(row.make(authority.root), settings, priority)
    #expect(verdict.isRefused == !row.refusal.isEmpty, "\(verdict)")
    #expect(verdict.sentence(.refusal).hasPrefix(row.refusal), "\(verdict.sentence(.refusal))")
    #expect(verdict.sentence(.warning) == row.warning)
    if row.refusal.isEmpty { #expect(verdict.sentence(.refusal) == "") }
  }

  @Test("a revoked certificate is refused; others of its authority are accepted")
  func revoked() throws {
    let authority = try Authority()
    let bad = try MadeCertificate(.client("CN=bad"), from: authority.root)
    let good = try MadeCertificate(.client("CN=good"), from: authority.root)
    var settings = try authority.serve()
    settings.revocationFile = try authority.write(
      "crl.pem", authority.root.revocationList([bad]))
    let refused = try verdict(ClientIdentity(bad), settings)
    #expect(
      refused.sentence(.refusal).hasPrefix(
        "its certificate 'CN=bad' cannot be verified: it has been revoked"))
    #expect(try verdict(ClientIdentity(good), settings).faults == [])
    // Without the list the certificate is not known to be revoked.
    settings.revocationFile = nil
    #expect(try verdict(ClientIdentity(bad), settings).faults == [])
  }

  @Test("a revocation list whose file disappears stays in use, with a warning")
  func disappeared() throws {
    let authority = try Authority()
    let bad = try MadeCertificate(.client("CN=bad"), from: authority.root)
    var settings = try authority.serve()
    let path = try authority.write("crl.pem", authority.root.revocationList([bad]))
    settings.revocationFile = path
    settings.mayLackRevocationFile = true
    var broker = BrokerSettings()
    broker.listeners = [ListenerSettings(.tcp(host: "127.0.0.1", port: "0"), isTLS: true)]
    broker.tls = settings
    let made = try Broker(settings: broker, log: BrokerLog(threshold: .error) { _, _ in })
    defer { withExtendedLifetime(made) {} }
    let tlsAcceptor = try #require(made.tlsAcceptor)
    func lists() -> [String] {
      tlsAcceptor.status.certificates.filter { $0.kind == .revocationList }.map(\.file)
    }
    #expect(lists() == [path])
    #expect(unlink(path) == 0)
    for _ in 0..<2 {
      #expect(tlsAcceptor.reload(because: "of the test") == nil)
      #expect(lists() == [path])
    }
    let old = try #require(tlsAcceptor.credentials.revocations)
    #expect(
      tlsAcceptor.credentials.warnings == [
        "\(path): the revocation list has disappeared; the one that was read from it stays in use until "
          + "the broker is started again"
      ])
    #expect(
      try verdict(ClientIdentity(bad), tlsAcceptor.credentials).sentence(.refusal).contains(
        "it has been revoked"))
    // A list of another file does not replace it.
    settings.revocationFile = path + ".other"
    #expect(try TLSCredentials(settings, at: TLSAcceptor.now, keeping: old).revocations == nil)
    // A list that reappears replaces the kept one.
    settings.revocationFile = path
    _ = try authority.write("crl.pem", authority.root.revocationList([]))
    let new = try TLSCredentials(settings, at: TLSAcceptor.now, keeping: old)
    #expect(new.warnings == [])
    #expect(try verdict(ClientIdentity(bad), new).faults == [])
  }

  @Test("an outdated revocation list still applies")
  func superseded() throws {
    let authority = try Authority()
    let bad = try MadeCertificate(.client("CN=bad"), from: authority.root)
    var settings = try authority.serve()
    settings.revocationFile = try authority.write(
      "crl.pem", authority.root.revocationList([bad], validUntil: -60))
    let refused = try verdict(ClientIdentity(bad), settings)
    #expect(refused.sentence(.refusal).contains("it has been revoked"))
    let good = try MadeCertificate(.client("CN=good"), from: authority.root)
    #expect(try verdict(ClientIdentity(good), settings).faults == [])
  }

  @Test("an Ed25519 client is accepted over TLS 1.3")
  func ed25519() throws {
    let authority = try Authority()
    let client = try MadeCertificate(
      .client("CN=c1").with {
        $0.key = .ed25519
        $0.usage = 128
      }, from: authority.root)
    #expect(try verdict(ClientIdentity(client), authority.serve()).faults == [])
  }

  @Test("with several server certificates each client gets one that it supports")
  func several() throws {
    let authority = try Authority()
    let elliptic = try MadeCertificate(.server("CN=ecdsa"), from: authority.root)
    let rsa = try MadeCertificate(.server("CN=rsa").with { $0.key = .rsa }, from: authority.root)
    var settings = try authority.serve(elliptic)
    settings.pairs.append(
      .init(
        certificateFile: try authority.write("rsacert.pem", rsa.pem),
        keyFile: try authority.write("rsakey.pem", rsa.keyPEM)))
    let identity = try ClientIdentity(MadeCertificate(.client("CN=c1"), from: authority.root))
    for kind in ["ECDSA", "RSA"] {
      var identity = identity
      identity.priority = "NORMAL:-VERS-TLS1.3:-KX-ALL:+ECDHE-\(kind)"
      #expect(try served(identity, settings) == "CN=\(kind.lowercased())")
    }
  }

  private func verdict(
    _ identity: ClientIdentity, _ settings: TLSSettings, _ priority: String = "NORMAL"
  ) throws -> TLSVerdict {
    try verdict(identity, TLSCredentials(settings, at: TLSAcceptor.now), priority)
  }

  private func verdict(
    _ identity: ClientIdentity, _ credentials: TLSCredentials, _ priority: String = "NORMAL"
  ) throws -> TLSVerdict {
    let now = TLSAcceptor.now
    let ends = try Ends(credentials)
    var identity = identity
    identity.priority = priority
    let client = ends.client(identity) { _ in }
    #expect(try ends.shake() == .done)
    defer { #expect(throws: Never.self) { try client.join() } }
    return ends.server.verifyClient(at: now)
  }

  /// The name in the certificate that the broker presented to the client.
  private func served(_ identity: ClientIdentity, _ settings: TLSSettings) throws -> String {
    let ends = try Ends(TLSCredentials(settings, at: Int64(Date().timeIntervalSince1970)))
    let seen = Seen()
    let client = ends.client(identity) { seen.name = $0.servedName }
    #expect(try ends.shake() == .done)
    try client.join()
    return seen.name
  }

  private final class Seen: @unchecked Sendable { var name = "" }
}
