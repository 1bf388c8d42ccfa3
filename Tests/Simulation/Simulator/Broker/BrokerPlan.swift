// What a simulated broker is like: drawn once, before it runs.
@testable import Streams

/// A listener of a simulated broker.
struct ListenerPlan {
  var isUNIX: Bool
  var isTLS = false
  var isReadOnly = false
  var authentication: Authentication

  static let all = [
    ListenerPlan(isUNIX: true, authentication: .polkit),
    ListenerPlan(isUNIX: true, authentication: .none),
    ListenerPlan(isUNIX: true, isReadOnly: true, authentication: .none),
    ListenerPlan(isUNIX: true, authentication: .sasl),
    ListenerPlan(isUNIX: false, authentication: .sasl),
    ListenerPlan(isUNIX: false, isTLS: true, authentication: .none),
    ListenerPlan(isUNIX: false, isTLS: true, authentication: .sasl),
  ]
}

/// Limits of a simulated broker, as an administrator may change them. 0 is no limit, where there is such a value.
struct BrokerLimits {
  var clients: Int
  var anonymous: Int
  var waiting: Int
  var perAddress: Int
  var perIdentity: Int
  var requests: Int
  /// Segments of memory.
  var segments: Int

  init(_ random: inout Seed) {
    clients = random.once(in: 2) ? random.pick(1...4) : random.pick(5...12)
    anonymous = random.once(in: 4) ? 0 : random.pick(1...3)
    waiting = random.once(in: 2) ? random.pick(1...3) : 10
    perAddress = random.once(in: 2) ? 0 : random.pick(1...3)
    perIdentity = random.once(in: 2) ? 0 : random.pick(1...3)
    requests = random.pick(1...5)
    segments = random.once(in: 3) ? random.pick(4...16) : random.pick(20...200)
  }
}

/// The listeners, limits, daemons and guests of a simulated broker.
struct BrokerPlan {
  var isFaultless: Bool
  var listeners: [ListenerPlan]
  var limits: BrokerLimits
  var session: SessionSettings
  var daemons: [DaemonPlan]
  /// Connections that clients make while there are faults.
  var guests: Int
  /// An origin of which many connections come at a time.
  var flood: Origin?
  var idleSeconds: Int
  var stopSeconds: Double
  var calmAt: Double
  /// When the broker is stopped; nil: not before the end.
  var stopAt: Double?
  /// When the broker is drained; nil: it is not.
  var drainAt: Double?
  /// The time limit of the drain; 0: none.
  var drainSeconds: Double
  /// Things that an administrator does.
  var commands: Int
  /// Descriptors for connections of clients, while there are faults.
  var descriptors: Int
  /// Bytes a second of all streams of a kind; 0: no rate.
  var rates: [Int]
  /// What connections to other hosts use of something, in all and for one origin.
  var helpers: (total: Int, share: Int)

  struct DaemonPlan {
    var target: UpstreamTarget
    /// Drivers with daemons of their own beside it.
    var own: Set<Driver> = []
  }

  static let origins: [Origin] = [
    .user(0), .user(1000), .user(1001), .address([10, 0, 0, 1]), .address([10, 0, 0, 2]),
    Origin(host: [32, 1, 13, 184, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1]),
  ]

  init(_ random: inout Seed) {
    isFaultless = random.once(in: 5)
    listeners = Array(ListenerPlan.all.shuffled(using: &random).prefix(random.pick(2...4)))
    limits = BrokerLimits(&random)
    session = SessionPlan.settings(&random)
    if isFaultless {
      session.loginSeconds = 120
      session.openSeconds = 60
    }
    daemons = BrokerPlan.daemons(&random)
    guests = random.pick(2...6)
    flood = random.once(in: 4) ? BrokerPlan.origins[random.pick(1...5)] : nil
    idleSeconds = random.once(in: 3) ? random.pick(2...20) : 0
    stopSeconds = Double(random.pick(1...8)) / 2
    calmAt = Double(random.pick(2...20))
    stopAt = random.once(in: 3) ? Double.random(in: 0...calmAt, using: &random) : nil
    if isFaultless { stopAt = nil }
    commands = isFaultless ? 0 : random.pick(0...4)
    descriptors = isFaultless || random.once(in: 2) ? 1000 : random.pick(2...6)
    rates = random.once(in: 3) ? (0..<3).map { _ in random.pick(8...60) * 1000 } : [0, 0, 0]
    helpers = random.once(in: 3) ? (8, random.pick(2...8)) : (64, 16)
    drainAt = random.once(in: 3) ? Double.random(in: 0...calmAt, using: &random) : nil
    drainSeconds = random.once(in: 2) ? Double(random.pick(1...20)) : 0
  }

  private static func daemons(_ random: inout Seed) -> [DaemonPlan] {
    let modular = DaemonPlan(
      target: UpstreamTarget(
        daemon: "virtqemud", path: "/run/virtqemud", uri: "qemu:///target", servesAll: false),
      own: random.once(in: 3) ? [.storage, .network] : random.once(in: 2) ? [.storage] : [])
    let monolithic = DaemonPlan(
      target: UpstreamTarget(
        daemon: "libvirtd", path: "/run/libvirtd", uri: "qemu:///target", servesAll: true))
    let remote = DaemonPlan(
      target: UpstreamTarget(
        daemon: "libvirtd", path: "host", uri: "qemu:///target", servesAll: true, isRemote: true,
        marks: (0..<random.pick(0...2)).map { 90_001 + Int32($0) },
        hasCredentials: random.once(in: 2)))
    return [modular, monolithic, remote]
  }

  /// A connection that a client makes: where, and from where.
  func guest(_ random: inout Seed, from origin: Origin? = nil) -> (gate: Int, origin: Origin) {
    let gate = random.pick(0...listeners.count - 1)
    if let origin, listeners[gate].isUNIX == BrokerPlan.isLocal(origin) { return (gate, origin) }
    let fitting = BrokerPlan.origins.filter {
      BrokerPlan.isLocal($0) == listeners[gate].isUNIX
    }
    return (gate, fitting[random.pick(0...fitting.count - 1)])
  }

  private static func isLocal(_ origin: Origin) -> Bool {
    if case .user = origin { return true }
    return false
  }

  /// What the session of such a client will be like.
  func session(
    _ random: inout Seed, at gate: Int, from origin: Origin, number: Int
  ) -> SessionPlan {
    var plan = SessionPlan(&random)
    let listener = listeners[gate]
    var identity = VerifiedIdentity()
    if case .user(let uid) = origin {
      identity.peer = UnixPeer(
        pid: Int32(1000 + number), uid: uid, gid: 100,
        startTime: random.once(in: 10) ? nil : 99_000, selinuxContext: nil)
      if random.once(in: 3) { identity.names = UnixNames(user: "user\(uid)") }
    }
    if listener.isTLS {
      identity.distinguishedName = "CN=client\(random.once(in: 2) ? number : number % 3)"
    }
    plan.client = SessionClient(
      identity: identity, authentication: listener.authentication,
      isReadOnly: listener.isReadOnly, mark: 90_100)
    let daemon = daemons[random.pick(0...daemons.count - 1)]
    plan.target = daemon.target
    plan.own = daemon.own
    plan.isFaultless = isFaultless
    plan.settings = session
    plan.calmAt = calmAt
    plan.calls = random.pick(1...8)
    plan.makesRecords = listener.isTLS
    plan.maxRequests = limits.requests
    plan.saslUser = "user\(random.once(in: 2) ? number : number % 3)"
    return plan
  }
}
