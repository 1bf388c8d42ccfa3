// What a simulated session is like: drawn once, before it runs.
@testable import Streams

/// The client, its habits, and the hosts and daemons there are.
struct SessionPlan {
  var isFaultless: Bool
  var client: SessionClient
  var habits = SessionClientModel.Habits()
  var settings: SessionSettings
  /// The daemon that CONNECT_OPEN leads to.
  var target: UpstreamTarget
  /// Drivers with a daemon of their own beside that one, if it does not serve all.
  var own: Set<Driver> = []
  var calmAt: Double
  /// Seconds between two calls of the client, at most.
  var pace: Double
  var calls: Int
  /// Calls that may be under way at a time.
  var maxRequests: Int
  /// The client comes over TLS.
  var makesRecords = false
  /// The name that it proves by SASL.
  var saslUser: String

  /// polkit cannot be asked about a process that is not known, unless the client is root.
  var canLogIn: Bool {
    let peer = client.identity.peer
    return client.authentication != .polkit || peer?.startTime != nil || peer?.uid == 0
  }

  init(_ random: inout Seed) {
    isFaultless = random.once(in: 4)
    settings = SessionPlan.settings(&random)
    if isFaultless { settings.loginSeconds = 120 }
    if isFaultless { settings.openSeconds = 60 }
    client = SessionPlan.client(&random)
    habits.pipelines = random.once(in: 4)
    habits.wildness = random.once(in: 2) ? 0 : random.pick(1...6)
    habits.answersPings = !random.once(in: 5)
    habits.wantsKeepAlive = !random.once(in: 4)
    habits.wantsReadOnly = random.once(in: 4)
    habits.closesWhenDone = random.once(in: 2)
    habits.follows = random.once(in: 2)
    let isRemote = random.once(in: 4)
    target = UpstreamTarget(
      daemon: isRemote ? "libvirtd" : "virtqemud", path: isRemote ? "host" : "/run/socket",
      uri: "qemu:///target", servesAll: isRemote || random.once(in: 3), isRemote: isRemote,
      marks: isRemote ? (0..<random.pick(0...2)).map { 90_001 + Int32($0) } : [],
      hasCredentials: isRemote && random.once(in: 2))
    if random.once(in: 2) { own.insert(.storage) }
    if random.once(in: 2) { own.insert(.network) }
    calmAt = Double(random.once(in: 4) ? random.pick(20...90) : random.pick(2...20))
    pace = random.once(in: 2) ? 0.3 : 3
    calls = random.pick(2...20)
    if habits.follows {
      // Long enough to register, and to lose its daemon behind that.
      calmAt = Double(random.pick(15...40))
      pace = 0.3
      calls = random.pick(10...40)
    }
    maxRequests = random.pick(1...5)
    makesRecords = client.identity.distinguishedName != nil
    saslUser = "user\(random.pick(0...1_000_000))"
  }

  static func settings(_ random: inout Seed) -> SessionSettings {
    SessionSettings(
      keepAlive: KeepAliveSettings(
        intervalSeconds: random.once(in: 6) ? 0 : random.pick(1...4),
        count: random.pick(0...3)),
      loginSeconds: [0, 3, 20, 60][random.pick(0...3)],
      openSeconds: [1, 4, 8.5, 20][random.pick(0...3)],
      reconnect: [.safe, .safe, .always, .never][random.pick(0...3)],
      reconnectSeconds: [1, 5, 15, 30][random.pick(0...3)])
  }

  private static func client(_ random: inout Seed) -> SessionClient {
    let isLocal = random.once(in: 2)
    var identity = VerifiedIdentity()
    var authentication = Authentication.none
    if isLocal {
      identity.peer = UnixPeer(
        pid: 4711, uid: random.once(in: 5) ? 0 : 1000, gid: 100,
        startTime: random.once(in: 8) ? nil : 99_000,
        selinuxContext: random.once(in: 2) ? "system_u:system_r:virtd_t" : nil)
      if random.once(in: 3) { identity.names = UnixNames(user: "alice") }
      authentication = [.none, .polkit, .polkit, .sasl][random.pick(0...3)]
    } else {
      if random.once(in: 2) { identity.distinguishedName = "CN=alice,O=Example" }
      authentication = random.once(in: 3) ? .none : .sasl
    }
    return SessionClient(
      identity: identity, authentication: authentication, isReadOnly: random.once(in: 4),
      mark: 90_100, seed: random.next())
  }
}
