// The broker's own certificates at start and at reload: which sets of files it uses, and why it refuses others.
import CGnuTLS
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("The broker's own certificates")
struct OwnCertificateTests {
  /// One set of files: how it differs from a good set, and the beginnings of its diagnostics' lines. DIR stands for
  /// its directory.
  struct Row: Sendable, CustomTestStringConvertible {
    let name: String
    let errors: [String]
    let warnings: [String]
    let make: @Sendable (Authority) throws -> TLSSettings
    var testDescription: String { name }

    init(
      _ name: String, errors: [String] = [], warnings: [String] = [],
      _ make: @escaping @Sendable (Authority) throws -> TLSSettings
    ) {
      self.name = name
      self.errors = errors
      self.warnings = warnings
      self.make = make
    }
  }

  /// About the broker's own certificate.
  private static func own(_ definition: MessageDefinition, _ words: String = "") -> String {
    line([definition], "DIR/servercert.pem: certificate 'CN=localhost': \(words)")
  }

  /// The broker's own certificate does not lead to an authority.
  private static func lost(_ reasons: MessageDefinition...) -> String {
    line([.ownChainIncomplete] + reasons, "DIR/servercert.pem: ")
  }

  private static func line(_ definitions: [MessageDefinition], _ words: String) -> String {
    "\(definitions.map(\.identifier).joined(separator: " ")): \(words)"
  }

  static let rows: [Row] = [
    Row("libvirt's guide") { try $0.serve() },
    Row("RSA") { try $0.serve(.server().with { $0.key = .rsa }) },
    Row("Ed25519") { try $0.serve(.server().with { $0.key = .ed25519 }) },
    Row("digital signature only, critical") {
      try $0.serve(.server().with { $0.usage = 128 })
    },
    Row("no extensions") { try $0.serve(CertificateWish("CN=localhost")) },
    Row(
      "expired",
      errors: [own(.certificateExpired), lost(.chainExpired)]
    ) { try $0.serve(.server().with { $0.validUntil = -60 }) },
    Row(
      "not yet valid",
      errors: [own(.certificateNotYetValid), lost(.chainNotActivated)]
    ) { try $0.serve(.server().with { $0.validFrom = 3600 }) },
    Row(
      "an authority's certificate",
      errors: [own(.constraintsOfAuthority)]
    ) { try $0.serve(.server().with { $0.constraints = .authority }) },
    Row(
      "wrong key usage, critical",
      errors: [own(.criticalKeyUsageLacks)]
    ) { try $0.serve(.server().with { $0.usage = 32 }) },
    Row(
      "wrong key usage, not critical",
      warnings: [own(.keyUsageLacks)]
    ) { try $0.serve(.server().with { ($0.usage, $0.usageIsCritical) = (32, false) }) },
    Row(
      "a client's purpose, critical",
      errors: [own(.criticalPurposeLacks)]
    ) {
      try $0.serve(
        .server().with {
          ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.clientPurpose], true)
        })
    },
    Row(
      "a client's purpose, not critical",
      warnings: [own(.purposeLacks)]
    ) { try $0.serve(.server().with { $0.purposes = [CertificateWish.clientPurpose] }) },
    Row(
      "any purpose, critical",
      errors: [own(.criticalPurposeLacks)]
    ) {
      try $0.serve(
        .server().with {
          ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.anyPurpose], true)
        })
    },
    Row("e-mail protection, critical") {
      try $0.serve(
        .server().with {
          ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.emailPurpose], true)
        })
    },
    Row("another authority's", errors: [lost(.chainIssuerUnknown)]) {
      try $0.serve(from: MadeCertificate(.authority("CN=Other CA")))
    },
    Row(
      "an authority of the same name and another key",
      errors: ["\(MessageDefinition.ownChainIncomplete.identifier) "]
    ) { try $0.serve(from: MadeCertificate(.authority("CN=Test CA"))) },
    Row("self-signed", errors: [lost(.chainIssuerUnknown)]) {
      try $0.serve(MadeCertificate(.server()))
    },
    Row("an intermediate authority that comes along") {
      let middle = try MadeCertificate(.authority("CN=Middle"), from: $0.root)
      return try $0.serve(from: middle, chain: [middle])
    },
    Row(
      "an intermediate authority that does not come along",
      errors: [lost(.chainIssuerUnknown)]
    ) { try $0.serve(from: MadeCertificate(.authority("CN=Middle"), from: $0.root)) },
    Row(
      "an intermediate that is no authority",
      errors: [lost(.chainIssuerNotAuthority, .chainConstraintsViolated)]
    ) {
      let middle = try MadeCertificate(.server("CN=Middle"), from: $0.root)
      return try $0.serve(from: middle, chain: [middle])
    },
    Row("an unknown critical extension", errors: [lost(.chainExtensionUnknown)]) {
      try $0.serve(.server().with { $0.hasUnknownCriticalExtension = true })
    },
    Row(
      "an expired authority",
      errors: [
        lost(.chainExpired),
        line([.certificateExpired], "DIR/cacert.pem: certificate 'CN=Old': "),
      ]
    ) {
      let old = try MadeCertificate(.authority("CN=Old").with { $0.validUntil = -60 })
      try $0.write("cacert.pem", old.pem)
      return try $0.serve(from: old)
    },
    Row(
      "an authority that is not valid yet",
      errors: [
        lost(.chainNotActivated),
        line([.certificateNotYetValid], "DIR/cacert.pem: certificate 'CN=New': "),
      ]
    ) {
      let new = try MadeCertificate(.authority("CN=New").with { $0.validFrom = 3600 })
      try $0.write("cacert.pem", new.pem)
      return try $0.serve(from: new)
    },
    Row(
      "an authority without basic constraints",
      errors: [line([.constraintsMissing], "DIR/cacert.pem: certificate 'CN=Bare': ")]
    ) {
      let bare = try MadeCertificate(CertificateWish("CN=Bare"))
      try $0.write("cacert.pem", $0.root.pem + bare.pem)
      return try $0.serve()
    },
    Row(
      "an authority that says it is none",
      errors: [
        line([.constraintsOfNoAuthority], "DIR/cacert.pem: certificate 'CN=Leaf': ")
      ]
    ) {
      let leaf = try MadeCertificate(CertificateWish("CN=Leaf").with { $0.constraints = .leaf })
      try $0.write("cacert.pem", $0.root.pem + leaf.pem)
      return try $0.serve()
    },
    Row(
      "an authority that must not sign, critical",
      errors: [
        line([.criticalKeyUsageLacks], "DIR/cacert.pem: certificate 'CN=Mute': ")
      ]
    ) {
      let mute = try MadeCertificate(.authority("CN=Mute").with { $0.usage = 128 })
      try $0.write("cacert.pem", $0.root.pem + mute.pem)
      return try $0.serve()
    },
    Row(
      "an authority that should not sign, not critical",
      warnings: [
        line([.keyUsageLacks], "DIR/cacert.pem: certificate 'CN=Mute': ")
      ]
    ) {
      let mute = try MadeCertificate(
        .authority("CN=Mute").with { ($0.usage, $0.usageIsCritical) = (128, false) })
      try $0.write("cacert.pem", $0.root.pem + mute.pem)
      return try $0.serve()
    },
    Row("two authorities, of which the second signed") {
      let other = try MadeCertificate(.authority("CN=Other CA"))
      try $0.write("cacert.pem", $0.root.pem + other.pem)
      return try $0.serve(from: other)
    },
    Row("no certificate file", errors: [line([.fileNotOpened], "DIR/servercert.pem: ")]) {
      let settings = try $0.serve()
      unlink("\($0.scratch.path)/servercert.pem")
      return settings
    },
    Row("no key file", errors: [line([.fileNotOpened], "DIR/serverkey.pem: ")]) {
      let settings = try $0.serve()
      unlink("\($0.scratch.path)/serverkey.pem")
      return settings
    },
    Row("no authority file", errors: [line([.fileNotOpened], "DIR/cacert.pem: ")]) {
      let settings = try $0.serve()
      unlink("\($0.scratch.path)/cacert.pem")
      return settings
    },
    Row("a directory for a certificate", errors: [line([.fileNotRegular], "DIR/: ")]) {
      var settings = try $0.serve()
      settings.pairs[0].certificateFile = "\($0.scratch.path)/"
      return settings
    },
    Row(
      "text for a certificate",
      errors: [line([.certificatesNotDecoded, .gnutlsError], "DIR/servercert.pem: ")]
    ) {
      let settings = try $0.serve()
      try $0.write("servercert.pem", "no certificate\n")
      return settings
    },
    Row(
      "an empty authority file",
      errors: [line([.certificatesNotDecoded, .gnutlsError], "DIR/cacert.pem: ")]
    ) {
      let settings = try $0.serve()
      try $0.write("cacert.pem", "")
      return settings
    },
    Row("a certificate file of 65 KiB", errors: [line([.fileTooLarge], "DIR/servercert.pem: ")]) {
      let settings = try $0.serve()
      try $0.write("servercert.pem", String(repeating: "#", count: 65 << 10))
      return settings
    },
    Row(
      "another certificate's key",
      errors: [line([.keyMismatch], "DIR/serverkey.pem: ")]
    ) {
      let settings = try $0.serve()
      try $0.write("serverkey.pem", MadeCertificate(.server(), from: $0.root).keyPEM)
      return settings
    },
    Row("text for a key", errors: [line([.keyUnusable], "DIR/serverkey.pem: ")]) {
      let settings = try $0.serve()
      try $0.write("serverkey.pem", "no key\n")
      return settings
    },
    Row("a revocation list") {
      var settings = try $0.serve()
      settings.revocationFile = try $0.write("crl.pem", $0.root.revocationList([]))
      return settings
    },
    Row(
      "a revocation list that is asked for and missing",
      errors: [line([.fileNotOpened], "DIR/crl.pem: ")]
    ) {
      var settings = try $0.serve()
      settings.revocationFile = "\($0.scratch.path)/crl.pem"
      return settings
    },
    Row("the usual revocation list, which is not there") {
      var settings = try $0.serve()
      settings.revocationFile = "\($0.scratch.path)/crl.pem"
      settings.mayLackRevocationFile = true
      return settings
    },
    Row(
      "text for a revocation list",
      errors: [line([.revocationListNotDecoded], "DIR/crl.pem: ")]
    ) {
      var settings = try $0.serve()
      settings.revocationFile = try $0.write("crl.pem", "nothing\n")
      return settings
    },
    Row(
      "a revocation list that should have been renewed",
      warnings: [line([.revocationListOutdated], "DIR/crl.pem: ")]
    ) {
      var settings = try $0.serve()
      settings.revocationFile = try $0.write(
        "crl.pem", $0.root.revocationList([], validUntil: -60))
      return settings
    },
    Row(
      "a key for everybody to read",
      warnings: [line([.keyReadableByOthers], "DIR/serverkey.pem: ")]
    ) {
      let settings = try $0.serve()
      chmod("\($0.scratch.path)/serverkey.pem", 0o644)
      return settings
    },
    Row("an expired certificate without the checks") {
      var settings = try $0.serve(.server().with { $0.validUntil = -60 })
      settings.checksOwnCertificates = false
      return settings
    },
    Row(
      "an invalid priority",
      errors: [line([.priorityInvalidAt], "tls_priority 'NORMAL:+NONSENSE': error at '+NONSENSE'")]
    ) {
      var settings = try $0.serve()
      settings.priority = "NORMAL:+NONSENSE"
      return settings
    },
    Row(
      "a priority without an elliptic curve",
      errors: [
        line(
          [.priorityWithoutCurves], "tls_priority 'NORMAL:-GROUP-ALL:+GROUP-FFDHE2048': ")
      ]
    ) {
      var settings = try $0.serve()
      settings.priority = "NORMAL:-GROUP-ALL:+GROUP-FFDHE2048"
      return settings
    },
    Row(
      "a priority of nothing but old versions",
      errors: [
        line([.priorityWithoutVersions], "tls_priority 'NORMAL:-VERS-ALL:+VERS-TLS1.1': ")
      ]
    ) {
      var settings = try $0.serve()
      settings.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1"
      return settings
    },
  ]

  @Test("a set of files is used or refused, with the reasons", arguments: rows)
  func loaded(row: Row) throws {
    let authority = try Authority()
    func expand(_ text: String) -> String {
      text.replacing("DIR", with: authority.scratch.path)
    }
    let settings = try row.make(authority)
    let now = Int64(Date().timeIntervalSince1970)
    var errors: [Message] = []
    var warnings: [Message] = []
    do {
      warnings = try TLSCredentials(settings, at: now).warnings
    } catch {
      errors = error.errors
    }
    #expect(errors.allSatisfy { $0.severity == .error }, "\(errors)")
    #expect(errors.count == row.errors.count, "\(errors)")
    for (error, expected) in zip(errors, row.errors) {
      #expect(error.line.hasPrefix(expand(expected)), "\(error.line)")
    }
    #expect(warnings.allSatisfy { $0.severity == .warning }, "\(warnings)")
    #expect(warnings.count == row.warnings.count, "\(warnings)")
    for (warning, expected) in zip(warnings, row.warnings) {
      #expect(warning.line.hasPrefix(expand(expected)), "\(warning.line)")
    }
  }

  @Test(
    "no priority enables versions older than TLS 1.2",
    arguments: ["NORMAL:+VERS-TLS1.0:+VERS-TLS1.1", "LEGACY", "NORMAL:+VERS-ALL", nil])
  func versions(priority: String?) throws { _ = try TLSPriority(priority) }

  @Test(
    "a priority may allow only TLS 1.3 or only TLS 1.2",
    arguments: [("1.3", "TLS1.3"), ("1.2", "TLS1.2")])
  func onlyVersion(version: String, name: String) throws {
    let authority = try Authority()
    var settings = try authority.serve()
    settings.priority = "NORMAL:-VERS-ALL:+VERS-TLS\(version)"
    let ends = try Ends(TLSCredentials(settings, at: TLSAcceptor.now))
    let client = ends.client(ClientIdentity()) { _ in }
    #expect(try ends.shake() == .done)
    try client.join()
    #expect(ends.server.parameters.hasPrefix(name + " "))
  }

  @Test(
    "no priority enables finite-field Diffie-Hellman",
    arguments: [nil, "NORMAL", "SECURE256", "NORMAL:+DHE-RSA:+GROUP-FFDHE8192"])
  func groups(priority: String?) throws {
    let kept = try TLSPriority(priority)
    defer { withExtendedLifetime(kept) {} }
    let cache = kept.cache
    var list: UnsafePointer<UInt32>?
    let count = Int(gnutls_priority_group_list(cache, &list))
    let groups = (0..<count).map { String(cString: gnutls_group_get_name(.init(list?[$0] ?? 0))) }
    #expect(groups.contains("SECP384R1"))
    #expect(!groups.contains { $0.hasPrefix("FFDHE") })
    let exchanges = (0..<Int(gnutls_priority_kx_list(cache, &list))).map {
      String(cString: gnutls_kx_get_name(.init(list?[$0] ?? 0)))
    }
    #expect(!exchanges.contains { $0.hasPrefix("DHE") }, "\(exchanges)")
  }

  @Test("a client that offers only FFDHE8192 is refused")
  func finiteField() throws {
    let authority = try Authority()
    let ends = try Ends(TLSCredentials(authority.serve(), at: TLSAcceptor.now))
    var identity = ClientIdentity()
    identity.priority = "NORMAL:-GROUP-ALL:+GROUP-FFDHE8192"
    let client = ends.client(identity) { _ in }
    guard case .failed = try ends.shake() else {
      throw Trouble(what: "the handshake did not fail")
    }
    #expect(throws: (any Error).self) { try client.join() }
  }

  @Test("AES-GCM comes first on processors with AES instructions, ChaCha20 on others")
  func ciphers() {
    #expect(TLSPriority.hasAES(cpuinfo: "processor : 0\nflags\t\t: fpu aes pclmulqdq avx\n"))
    #expect(!TLSPriority.hasAES(cpuinfo: "processor : 0\nflags\t\t: fpu pclmulqdq avx\n"))
    #expect(TLSPriority.hasAES(cpuinfo: "Features : fp asimd aes pmull sha1\n"))
    #expect(!TLSPriority.hasAES(cpuinfo: ""))
    let (with, without) = (TLSPriority.usual(hasAES: true), TLSPriority.usual(hasAES: false))
    func place(_ cipher: String, _ text: String) -> String.Index? {
      text.range(of: cipher)?.lowerBound
    }
    #expect(place("+AES-256-GCM", with)! < place("+CHACHA20", with)!)
    #expect(place("+AES-256-GCM", without)! > place("+CHACHA20", without)!)
  }
}
