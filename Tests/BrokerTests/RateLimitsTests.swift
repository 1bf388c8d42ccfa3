// Which rate limit applies to which identity.
import Streams
import Testing

@testable import Broker

@Suite("Rate limits")
struct RateLimitsTests {
  private static func limits(_ change: (inout RateSettings) -> Void) -> RateLimits {
    var settings = RateSettings()
    change(&settings)
    return RateLimits(settings)
  }

  private static func user(_ name: String) -> VerifiedIdentity {
    var identity = VerifiedIdentity()
    identity.saslUser = name
    return identity
  }

  private static func certificate(_ name: String) -> VerifiedIdentity {
    var identity = VerifiedIdentity()
    identity.distinguishedName = name
    return identity
  }

  private static func local(_ uid: UInt32, _ name: String? = nil) -> VerifiedIdentity {
    VerifiedIdentity(
      peer: UnixPeer(pid: 1, uid: uid, gid: uid, startTime: nil, selinuxContext: nil),
      names: UnixNames(user: name))
  }

  @Test("the first matching rule applies to an identity, in addition to the rate for all")
  func rules() {
    let limits = Self.limits {
      $0.totals = [.upload: 1000]
      $0.identities = [
        RateRule(.upload, "admin@*", rate: 0), RateRule(.upload, "*", rate: 10),
        RateRule(.download, "uid 7", rate: 20),
      ]
    }
    func rates(_ kind: StreamKind, _ identity: VerifiedIdentity) -> [Double] {
      limits.meters(for: kind, of: identity).map(\.rate)
    }
    #expect(rates(.upload, Self.user("admin@EXAMPLE.COM")) == [1000])
    #expect(rates(.upload, Self.certificate("O=x,CN=y")) == [1000, 10])
    #expect(rates(.upload, VerifiedIdentity()) == [1000])
    #expect(rates(.download, Self.local(7)) == [20])
    #expect(rates(.download, Self.local(77)) == [])
    #expect(rates(.console, Self.local(7)) == [])
    #expect(rates(.other, Self.local(7)) == [])
  }

  @Test("a local user matches by uid and by name, a SASL user by the SASL name alone")
  func names() {
    let limits = Self.limits {
      $0.identities = [RateRule(.upload, "joe", rate: 10), RateRule(.upload, "uid 7", rate: 20)]
    }
    func rates(_ identity: VerifiedIdentity) -> [Double] {
      limits.meters(for: .upload, of: identity).map(\.rate)
    }
    #expect(rates(Self.local(5, "joe")) == [10])
    #expect(rates(Self.local(7, "joe")) == [10], "the first rule counts")
    #expect(rates(Self.local(7)) == [20])
    #expect(rates(Self.user("joe")) == [10])
    // A SASL client is identified by its SASL name, whatever user its process runs as.
    var both = Self.local(7, "joe")
    both.saslUser = "ann"
    #expect(rates(both) == [])
    #expect(both.name == "ann" && Self.local(7, "joe").name == "uid 7")
    #expect(VerifiedIdentity().name == nil)
    // The same name as a local user and as a SASL user is two identities.
    let meters = [Self.local(5, "joe"), Self.user("joe")].map {
      limits.meters(for: .upload, of: $0)[0]
    }
    #expect(meters[0] !== meters[1])
  }

  @Test("connections of one identity share its rate; other identities have their own")
  func shared() {
    let limits = Self.limits { $0.identities = [RateRule(.migration, "*", rate: 10)] }
    let meters = [1, 1, 2].map { Self.local($0) }.map { limits.meters(for: .migration, of: $0)[0] }
    #expect(meters[0] === meters[1])
    #expect(meters[0] !== meters[2])
  }

  @Test("new rates apply to meters in use; removing a rule removes its limit")
  func change() {
    let limits = Self.limits {
      $0.totals = [.upload: 1000]
      $0.identities = [RateRule(.upload, "uid 1", rate: 10)]
    }
    let meters = limits.meters(for: .upload, of: Self.local(1))
    var settings = limits.settings
    settings.totals[.upload] = 5
    settings.totals[.console] = 6
    settings.identities = [RateRule(.upload, "uid *", rate: 7)]
    limits.change(settings)
    #expect(meters.map(\.rate) == [5, 7])
    #expect(limits.meters(for: .console, of: VerifiedIdentity()).map(\.rate) == [6])
    limits.change(RateSettings())
    #expect(meters.map(\.rate) == [0, 0])
    #expect(limits.meters(for: .upload, of: Self.local(1)).isEmpty)
  }

  @Test(
    "a rate is parsed from its text",
    arguments: [
      ("0", 0), ("12", 12), ("500K", 512_000), ("1.5M", 1_572_864), ("2G", 2 << 30), ("", nil),
      ("K", nil),
      ("1.5", nil), ("1k", nil), ("-1", nil), ("1e3", nil), (".5M", nil), ("1..5M", nil),
      ("0.0000001K", nil), ("99999999999999999999", nil),
    ] as [(String, Int?)])
  func text(text: String, rate: Int?) { #expect(RateText.read(text) == rate) }
}
