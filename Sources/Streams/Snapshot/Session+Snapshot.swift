// A session on its way to another process.

/// Whether a session can be moved to another process.
public enum Mobility: Equatable, Sendable {
  case movable
  /// Something is under way that ends soon: it is opened or closed, or the broker itself awaits an answer.
  case notYet
  /// It ends, or its client has not authenticated.
  case stays
}

extension Session {
  var mobility: Mobility {
    guard course == .serving else { return .stays }
    switch state {
    case .connected: return upstreams.isEmpty ? .movable : .notYet
    case .open:
      // While an upstream is surveyed, the relay awaits an answer (`Relay.isMovable`).
      let isAtRest = upstreams.allSatisfy {
        $0.state == .ready && $0.isAttached && $0.reopening == nil
      }
      return isAtRest && identity.isComplete ? .movable : .notYet
    case .opening, .closing, .leaving: return .notYet
    case .loggingIn, .turnedAway, .lost, .over: return .stays
    }
  }

  /// What a reader begins with.
  init(_ settings: SessionSettings) {
    let client = SessionClient(
      identity: VerifiedIdentity(), authentication: .none, isReadOnly: false, mark: 0)
    self.init(client, settings, at: 0)
  }

  /// Writes the state of a movable session, or reads it. Times are those of the machine's monotonic clock.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try client.code(&coder)
    try identity.code(&coder)
    try coder.code(&isReadOnly)
    try coder.code(&saslFailures, in: 0...Session.mostSASLFailures)
    try keepAlive.code(&coder)
    try coder.code(&lastUpstream, in: 0...Int(Int32.max))
    try coder.code(&upstreams, initially: Upstream(id: 1, driver: nil, deadline: 0)) {
      (upstream, coder) throws(Violation) in try upstream.code(&coder)
    }
    try coder.code(&opened, initially: .none) { (target, coder) throws(Violation) in
      try target.code(&coder)
    }
    var main = 0
    if case .open(let id) = state { main = id }
    try coder.code(&main)
    guard coder.isReading else { return }
    let isMainThere = upstreams.contains { $0.id == main && $0.driver == nil }
    guard isMainThere || main == 0 && upstreams.isEmpty else {
      throw Violation(.snapshotValueInvalid, [main, "an upstream"])
    }
    state = main > 0 ? .open(main: main) : .connected
    keepAlive.adopt(settings.keepAlive, since: keepAlive.lookAt)
  }
}

extension SessionClient {
  fileprivate mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try identity.code(&coder)
    try authentication.code(&coder)
    try coder.code(&isReadOnly)
    try coder.code(&mark)
    try coder.code(&seed)
  }
}

extension Authentication {
  fileprivate mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var name = rawValue
    try coder.code(&name)
    guard let known = Authentication(rawValue: name) else {
      throw Violation(.snapshotValueInvalid, [name, "an authentication"])
    }
    self = known
  }
}

extension VerifiedIdentity {
  /// Writes or reads what was verified.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(
      &peer, initially: UnixPeer(pid: 0, uid: 0, gid: 0, startTime: nil, selinuxContext: nil)
    ) {
      (peer, coder) throws(Violation) in try peer.code(&coder)
    }
    try coder.code(&names, initially: UnixNames()) { (names, coder) throws(Violation) in
      try coder.code(&names.user)
      try coder.code(&names.group)
    }
    try coder.code(&saslUser)
    try coder.code(&distinguishedName)
  }
}

extension UnixPeer {
  fileprivate mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var (pid, uid, gid, startTime, context) = (
      self.pid, self.uid, self.gid, self.startTime, selinuxContext
    )
    try coder.code(&pid)
    try coder.code(&uid)
    try coder.code(&gid)
    try coder.code(&startTime, initially: 0) { (time, coder) throws(Violation) in
      try coder.code(&time)
    }
    try coder.code(&context)
    self = UnixPeer(
      pid: pid, uid: uid, gid: gid, startTime: startTime, selinuxContext: context)
  }
}

extension UpstreamTarget {
  static let none = UpstreamTarget(daemon: "", path: "", uri: "", servesAll: false)

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&daemon)
    try coder.code(&path)
    try coder.code(&uri)
    try coder.code(&servesAll)
    try coder.code(&isRemote)
    try coder.code(&marks, initially: 0) { (mark, coder) throws(Violation) in
      try coder.code(&mark)
    }
    try coder.code(&hasCredentials)
  }
}
