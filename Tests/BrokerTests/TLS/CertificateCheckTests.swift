import Streams
// The checks of a certificate for a role: each by itself, on plain values.
import Testing

@testable import Broker

@Suite("Certificate checks")
struct CertificateCheckTests {
  private static let now: Int64 = 1_800_000_000  // 2027-01-15 08:00:00 UTC

  struct Row: Sendable, CustomTestStringConvertible {
    let name: String
    let role: CertificateRole
    let certificate: Certificate
    let diagnostics: [Message]
    var testDescription: String { "\(role): \(name)" }

    init(
      _ role: CertificateRole, _ name: String, _ diagnostics: [Message] = [],
      _ change: (inout Certificate) -> Void
    ) {
      self.role = role
      self.name = name
      self.diagnostics = diagnostics
      var certificate = Certificate(
        subject: "CN=x", activation: now - 86_400, expiration: now + 86_400)
      if role == .authority { certificate.basicConstraints = .authority }
      change(&certificate)
      self.certificate = certificate
    }
  }

  private static func usage(
    _ usage: Certificate.KeyUsage, critical: Bool
  ) -> Certificate.Marked<Certificate.KeyUsage> { .init(usage, isCritical: critical) }

  private static func purposes(
    _ purposes: String..., critical: Bool
  ) -> Certificate.Marked<[String]> { .init(purposes, isCritical: critical) }

  private static let email = "1.3.6.1.5.5.7.3.4"

  static let rows: [Row] =
    [CertificateRole.server, .client, .authority].flatMap { role in
      [
        Row(role, "no extensions but what it needs") { _ in },
        Row(role, "expires this second") { $0.expiration = now },
        Row(
          role, "expired a second ago", [Message(.certificateExpired, ["2027-01-15 07:59:59 UTC"])]
        ) {
          $0.expiration = now - 1
        },
        Row(role, "valid from this second") { $0.activation = now },
        Row(
          role, "valid from the next second",
          [Message(.certificateNotYetValid, ["2027-01-15 08:00:01 UTC"])]
        ) { $0.activation = now + 1 },
        Row(role, "every usage") {
          $0.keyUsage = usage(
            [.digitalSignature, .keyEncipherment, .certificateSigning], critical: true)
        },
      ]
    }
    + [CertificateRole.server, .client].flatMap { role in
      let owner = role == .server ? "a server" : "a client"
      let own = role == .server ? Certificate.Purpose.server : Certificate.Purpose.client
      let other = role == .server ? Certificate.Purpose.client : Certificate.Purpose.server
      let purpose = ["TLS \(role == .server ? "server" : "client")", own]
      return [
        Row(role, "basic constraints that say no authority") {
          $0.basicConstraints = .notAuthority
        },
        Row(
          role, "an authority's basic constraints",
          [Message(.constraintsOfAuthority, [owner])]
        ) { $0.basicConstraints = .authority },
        Row(role, "digital signature without key encipherment, critical") {
          $0.keyUsage = usage(.digitalSignature, critical: true)
        },
        Row(
          role, "key encipherment only, critical",
          [Message(.criticalKeyUsageLacks, ["digital signature"])]
        ) { $0.keyUsage = usage(.keyEncipherment, critical: true) },
        Row(
          role, "key encipherment only, not critical",
          [Message(.keyUsageLacks, ["digital signature"])]
        ) { $0.keyUsage = usage(.keyEncipherment, critical: false) },
        Row(
          role, "certificate signing only, critical",
          [Message(.criticalKeyUsageLacks, ["digital signature"])]
        ) { $0.keyUsage = usage(.certificateSigning, critical: true) },
        Row(
          role, "a usage of nothing, critical",
          [Message(.criticalKeyUsageLacks, ["digital signature"])]
        ) { $0.keyUsage = usage([], critical: true) },
        Row(role, "its purpose, critical") { $0.purposes = purposes(own, critical: true) },
        Row(role, "its purpose, not critical") { $0.purposes = purposes(own, critical: false) },
        Row(role, "both purposes, critical") {
          $0.purposes = purposes(other, own, critical: true)
        },
        Row(role, "the other purpose, critical", [Message(.criticalPurposeLacks, purpose)]) {
          $0.purposes = purposes(other, critical: true)
        },
        Row(role, "the other purpose, not critical", [Message(.purposeLacks, purpose)]) {
          $0.purposes = purposes(other, critical: false)
        },
        Row(role, "any purpose, critical: means neither", [Message(.criticalPurposeLacks, purpose)])
        {
          $0.purposes = purposes(Certificate.Purpose.any, critical: true)
        },
        Row(role, "any purpose, not critical: means neither", [Message(.purposeLacks, purpose)]) {
          $0.purposes = purposes(Certificate.Purpose.any, critical: false)
        },
        Row(role, "e-mail protection, critical: means both") {
          $0.purposes = purposes(email, critical: true)
        },
        Row(role, "any and the other purpose, critical", [Message(.criticalPurposeLacks, purpose)])
        {
          $0.purposes = purposes(Certificate.Purpose.any, other, critical: true)
        },
        Row(
          role, "everything wrong at once",
          [
            Message(.certificateExpired, ["2027-01-15 07:59:59 UTC"]),
            Message(.constraintsOfAuthority, [owner]),
            Message(.criticalKeyUsageLacks, ["digital signature"]),
            Message(.criticalPurposeLacks, purpose),
          ]
        ) {
          $0.expiration = now - 1
          $0.basicConstraints = .authority
          $0.keyUsage = usage(.certificateSigning, critical: true)
          $0.purposes = purposes(other, critical: true)
        },
      ]
    } + [
      Row(
        .authority, "no basic constraints",
        [Message(.constraintsMissing)]
      ) { $0.basicConstraints = .missing },
      Row(
        .authority, "basic constraints that say no authority",
        [Message(.constraintsOfNoAuthority)]
      ) { $0.basicConstraints = .notAuthority },
      Row(
        .authority, "digital signature only, critical",
        [Message(.criticalKeyUsageLacks, ["certificate signing"])]
      ) { $0.keyUsage = usage(.digitalSignature, critical: true) },
      Row(
        .authority, "digital signature only, not critical",
        [Message(.keyUsageLacks, ["certificate signing"])]
      ) { $0.keyUsage = usage(.digitalSignature, critical: false) },
      Row(.authority, "certificate signing, critical") {
        $0.keyUsage = usage(.certificateSigning, critical: true)
      },
      Row(.authority, "a purpose, which is no concern of an authority's") {
        $0.purposes = purposes(Certificate.Purpose.client, critical: true)
      },
    ]

  @Test("each error and warning is found, and no other is reported", arguments: rows)
  func checked(row: Row) {
    #expect(
      CertificateChecks.diagnostics(of: row.certificate, as: row.role, at: Self.now)
        == row.diagnostics)
    let critical = row.diagnostics.filter { $0.text.hasPrefix("critical ") }
    #expect(critical.allSatisfy { $0.severity == .error })
    #expect(
      row.diagnostics.filter { $0.severity != .error }.allSatisfy {
        $0.has(.keyUsageLacks) || $0.has(.purposeLacks)
      })
  }

  @Test("dates are calendar dates")
  func dates() {
    #expect(dateText(0) == "1970-01-01 00:00:00 UTC")
    #expect(dateText(-1) == "1969-12-31 23:59:59 UTC")
    #expect(dateText(951_782_400) == "2000-02-29 00:00:00 UTC")
    #expect(dateText(1_709_210_096) == "2024-02-29 12:34:56 UTC")
    #expect(dateText(4_102_444_799) == "2099-12-31 23:59:59 UTC")
    #expect(dateText(253_402_300_799) == "9999-12-31 23:59:59 UTC")
  }

  @Test("days are rounded down to whole days")
  func days() {
    #expect(CertificateChecks.days(until: 86_400, from: 0) == 1)
    #expect(CertificateChecks.days(until: 86_399, from: 0) == 0)
    #expect(CertificateChecks.days(until: 0, from: 0) == 0)
    #expect(CertificateChecks.days(until: 0, from: 1) == -1)
    #expect(CertificateChecks.days(until: 0, from: 86_400) == -1)
    #expect(CertificateChecks.days(until: 0, from: 86_401) == -2)
  }

  @Test("an expiry is warned of once at 30, 14, 7 and 1 days, and once after it")
  func reminders() {
    var reminder = ExpiryReminder()
    var said: [Int] = []
    for days in stride(from: 40, through: -3, by: -1) {
      for _ in 0..<24 where reminder.isDue(days: days) { said.append(days) }
    }
    #expect(said == [30, 14, 7, 1, -1])
    var late = ExpiryReminder()
    #expect(late.isDue(days: 5) && !late.isDue(days: 5) && late.isDue(days: 0))
    // A renewed certificate starts over.
    #expect(!late.isDue(days: 365) && late.isDue(days: 29))
  }
}
