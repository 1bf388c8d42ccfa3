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
    /// The identifiers of the errors begin with these.
    let errors: [MessageDefinition]
    let warnings: [MessageDefinition]
    let names: [String]?
    let make: Make
    var testDescription: String { name }

    init(
      _ name: String, errors: [MessageDefinition] = [], warnings: [MessageDefinition] = [],
      names: [String]? = nil,
      make: @escaping Make
    ) {
      self.name = name
      self.errors = errors
      self.warnings = warnings
      self.names = names
      self.make = make
    }

    /// A certificate that differs from a good one.
    init(
      _ name: String, errors: [MessageDefinition] = [], warnings: [MessageDefinition] = [],
      names: [String]? = nil,
      changed: @escaping @Sendable (inout CertificateWish) -> Void
    ) {
      self.init(
        name, errors: errors, warnings: warnings, names: names,
        make: { root in
          try ClientIdentity(
            MadeCertificate(.client("CN=c1,O=Acme").with(changed), from: root))
        })
    }
  }

  static let rows: [Row] = [
    Row("libvirt's guide", changed: { _ in }),
    Row("RSA", changed: { $0.key = .rsa }),
    Row("digital signature only, critical", changed: { $0.usage = 128 }),
    Row(
      "no extensions",
      make: { try ClientIdentity(MadeCertificate(CertificateWish("CN=c1"), from: $0)) }),
    Row("no certificate", errors: [.noPeerCertificate], make: { _ in ClientIdentity() }),
    Row(
      "expired",
      errors: [.peerNotVerified, .chainExpired, .certificateExpired],
      changed: { $0.validUntil = -60 }),
    Row(
      "not yet valid",
      errors: [.peerNotVerified, .chainNotActivated, .certificateNotYetValid],
      changed: { $0.validFrom = 3600 }),
    Row(
      "an authority's",
      errors: [.constraintsOfAuthority],
      changed: { $0.constraints = .authority }),
    Row(
      "a server's purpose, critical", errors: [.criticalPurposeLacks],
      changed: {
        ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.serverPurpose], true)
      }),
    Row(
      "a server's purpose, not critical", warnings: [.purposeLacks],
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
      "any purpose, critical", errors: [.criticalPurposeLacks],
      changed: { ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.anyPurpose], true) }),
    Row(
      "an unknown critical extension",
      errors: [.peerNotVerified, .chainExtensionUnknown],
      changed: { $0.hasUnknownCriticalExtension = true }),
    Row(
      "another authority's", errors: [.peerNotVerified, .chainIssuerUnknown],
      make: { _ in
        try ClientIdentity(
          MadeCertificate(
            .client("CN=c1,O=Acme"), from: MadeCertificate(.authority("CN=Other CA"))))
      }),
    Row(
      "an authority of the same name and another key", errors: [.peerNotVerified],
      make: { _ in
        try ClientIdentity(
          MadeCertificate(
            .client("CN=c1,O=Acme"), from: MadeCertificate(.authority("CN=Test CA"))))
      }),
    Row(
      "self-signed", errors: [.peerNotVerified, .chainIssuerUnknown],
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
      errors: [.peerNotVerified, .chainIssuerUnknown],
      make: { root in
        let middle = try MadeCertificate(.authority("CN=Middle"), from: root)
        return try ClientIdentity(MadeCertificate(.client("CN=c1,O=Acme"), from: middle))
      }),
    Row(
      "an intermediate that is no authority",
      errors: [.peerNotVerified, .chainIssuerNotAuthority],
      make: { root in
        let middle = try MadeCertificate(.client("CN=Middle"), from: root)
        return try ClientIdentity(
          MadeCertificate(.client("CN=c1,O=Acme"), from: middle), chain: [middle])
      }),
    Row(
      "an expired intermediate",
      errors: [.peerNotVerified, .chainExpired, .issuerDiagnostic, .certificateExpired],
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
      errors: [.nameNotAllowed],
      names: ["O=Acme,CN=c2", "CN=c1", "O=Acme,CN=c1?"], changed: { _ in }),
    Row(
      "a list that differs in case",
      errors: [.nameNotAllowed],
      names: ["o=acme,cn=c1"], changed: { _ in }),
    Row(
      "an empty list",
      errors: [.noNameAllowed],
      names: [], changed: { _ in }),
    Row(
      "a name with a comma, escaped as in the list", names: ["O=Acme\\, Inc,CN=c1"],
      changed: { $0.name = "CN=c1,O=Acme\\, Inc" }),
    Row(
      "everything wrong at once",
      errors: [.nameNotAllowed, .constraintsOfAuthority, .criticalPurposeLacks],
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
    let check = try check(row.make(authority.root), settings, priority)
    #expect(check.isRefused == !row.errors.isEmpty, "\(check)")
    let (errors, warnings) = (check.diagnostics(.error), check.diagnostics(.warning))
    let identifiers = errors?.identifiers ?? []
    #expect(identifiers.starts(with: row.errors.map(\.identifier)), "\(identifiers)")
    #expect(warnings?.identifiers ?? [] == row.warnings.map(\.identifier))
    for message in [errors, warnings].compactMap({ $0 }) where !message.has(.noPeerCertificate) {
      #expect(message.text.hasPrefix("certificate 'O=Acme,CN=c1': "), "\(message)")
    }
    if identifiers.contains(MessageDefinition.issuerDiagnostic.identifier) {
      #expect(errors?.text.contains("'CN=Middle'") == true)
    }
    if row.errors.isEmpty { #expect(errors == nil) }
  }

  @Test("a revoked certificate is refused; others of its authority are accepted")
  func revoked() throws {
    let authority = try Authority()
    let bad = try MadeCertificate(.client("CN=bad"), from: authority.root)
    let good = try MadeCertificate(.client("CN=good"), from: authority.root)
    var settings = try authority.serve()
    settings.revocationFile = try authority.write(
      "crl.pem", authority.root.revocationList([bad]))
    let refused = try check(ClientIdentity(bad), settings)
    #expect(refused.diagnostics.first == Message(.peerNotVerified, [Message(.chainRevoked)]))
    #expect(try check(ClientIdentity(good), settings).diagnostics == [])
    // Without the list the certificate is not known to be revoked.
    settings.revocationFile = nil
    #expect(try check(ClientIdentity(bad), settings).diagnostics == [])
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
    let tlsAcceptor = try #require(made.acceptor.tls)
    func lists() -> [String] {
      tlsAcceptor.status.certificates.filter { $0.kind == .revocationList }.map(\.file)
    }
    #expect(lists() == [path])
    #expect(unlink(path) == 0)
    for _ in 0..<2 {
      #expect(tlsAcceptor.reload(because: Message(.reloadBySignal)) == nil)
      #expect(lists() == [path])
    }
    let old = try #require(tlsAcceptor.credentials.revocations)
    #expect(
      tlsAcceptor.credentials.warnings == [Message(.revocationListMissing, [path])])
    #expect(
      try check(ClientIdentity(bad), tlsAcceptor.credentials).diagnostics(.error)?
        .has(.chainRevoked) == true)
    // A list of another file does not replace it.
    settings.revocationFile = path + ".other"
    #expect(try TLSCredentials(settings, at: TLSAcceptor.now, keeping: old).revocations == nil)
    // A list that reappears replaces the kept one.
    settings.revocationFile = path
    _ = try authority.write("crl.pem", authority.root.revocationList([]))
    let new = try TLSCredentials(settings, at: TLSAcceptor.now, keeping: old)
    #expect(new.warnings == [])
    #expect(try check(ClientIdentity(bad), new).diagnostics == [])
  }

  @Test("an outdated revocation list still applies")
  func superseded() throws {
    let authority = try Authority()
    let bad = try MadeCertificate(.client("CN=bad"), from: authority.root)
    var settings = try authority.serve()
    settings.revocationFile = try authority.write(
      "crl.pem", authority.root.revocationList([bad], validUntil: -60))
    let refused = try check(ClientIdentity(bad), settings)
    #expect(refused.diagnostics(.error)?.has(.chainRevoked) == true)
    let good = try MadeCertificate(.client("CN=good"), from: authority.root)
    #expect(try check(ClientIdentity(good), settings).diagnostics == [])
  }

  @Test("an Ed25519 client is accepted over TLS 1.3")
  func ed25519() throws {
    let authority = try Authority()
    let client = try MadeCertificate(
      .client("CN=c1").with {
        $0.key = .ed25519
        $0.usage = 128
      }, from: authority.root)
    #expect(try check(ClientIdentity(client), authority.serve()).diagnostics == [])
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

  private func check(
    _ identity: ClientIdentity, _ settings: TLSSettings, _ priority: String = "NORMAL"
  ) throws -> TLSPeerCheck {
    try check(identity, TLSCredentials(settings, at: TLSAcceptor.now), priority)
  }

  private func check(
    _ identity: ClientIdentity, _ credentials: TLSCredentials, _ priority: String = "NORMAL"
  ) throws -> TLSPeerCheck {
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
