// The state machine of one client's session.

/// The state machine of a session, from admission until the connection is over: login, opening and closing, upstreams,
/// liveness. It performs no I/O. `handle` takes one event and returns the resulting actions. The driver carries them
/// out and reports their results as further events.
///
///     loggingIn ──▶ connected ──▶ opening ──▶ open ──▶ closing ──▶ leaving ──▶ over
///         │                                     │                     ▲
///         └──▶ turnedAway ──────────────────────│─────────────────────┘
///                                               └──▶ lost ──▶ over
///
/// Packets that do not concern the session never reach it: the relay forwards them.
public struct Session: Sendable {
  /// The state of the client. Everything else follows from it, the upstreams and `keepAlive`.
  enum State: Sendable {
    /// The client must authenticate before `until`; nil: no timeout.
    case loggingIn(Login, until: Double?)
    /// A limit is reached: the broker answers the client's first call with this error, then the connection ends.
    case turnedAway(RemoteError, until: Double)
    /// No CONNECT_OPEN has succeeded yet.
    case connected
    /// CONNECT_OPEN is under way: its serial and the upstream that it leads to.
    case opening(serial: UInt32, main: Int)
    case open(main: Int)
    /// CONNECT_CLOSE is under way: its serial, and the latest time at which the client is answered.
    case closing(serial: UInt32, until: Double)
    /// The connection drains: the last reply is sent, then the connection ends.
    case leaving(until: Double)
    /// The connection to the backend that the client opened is lost. The client's connection drains: the queued packets
    /// are sent, then it ends.
    case lost(Drain)
    case over
  }

  /// The step that a client's authentication has reached.
  enum Login: Sendable {
    /// No exchange is under way.
    case awaited
    /// The SASL service lists its mechanisms. The payload is the call to reply to.
    case beginning(PacketHeader)
    /// The client may choose a mechanism.
    case offered
    /// The SASL service handles the client's data. The payload is the call to reply to.
    case stepping(PacketHeader)
    /// The client may send the next step.
    case started
    /// polkit decides about this action.
    case askingPolkit(PacketHeader, action: String)
  }

  /// The draining of a client whose backend is lost.
  struct Drain: Sendable {
    /// Bytes sent to the client before the last check. A slow client receives everything, as long as it reads.
    var sent: UInt64
    var lookAt: Double
    /// The broker has closed its sending side. The client closes the other side when it has read everything.
    var isHalfClosed = false
  }

  /// The data about the relay's traffic that a session needs.
  public struct Traffic: Sendable {
    /// Bytes sent to the client, bytes queued for it, and bytes queued for upstreams.
    public var sentToClient: UInt64 = 0
    public var waitingForClient = 0
    public var waitingForUpstreams = 0
    /// Bytes received from the client and not routed yet.
    public var unrouted = 0
    /// Calls of the client whose replies are awaited.
    public var awaitedCalls = 0
    public var isClientPaused = false
    /// While the broker is draining; nil: it is not.
    public var activity: ClientActivity?
    public init() {}
  }

  /// Whether the broker goes out of service.
  enum Course: Sendable, Equatable {
    case serving
    /// The broker is draining. The session ends at `idleAt` unless the client does something; nil: the client is not idle.
    case draining(idleAt: Double?)
    /// The broker is stopping: the session ends as soon as nothing is under way.
    case stopping
  }

  /// Timeout for daemons to confirm CONNECT_CLOSE, and for a client to read its last reply.
  static let closeSeconds = 5.0
  /// Timeout for the first call of a client that is turned away. The broker answers that call with the reason.
  static let refusalSeconds = 5.0
  /// SASL failures after which the broker closes a connection, to slow down password guessing.
  static let mostSASLFailures = 8

  var client: SessionClient
  var settings: SessionSettings
  public internal(set) var identity: VerifiedIdentity
  var state: State
  /// The listener is read-only, or the client opened with the read-only flag.
  public internal(set) var isReadOnly: Bool
  public internal(set) var upstreams: [Upstream] = []
  /// The daemon that the client opened or is opening. It stays set when the upstream is lost.
  public internal(set) var opened: UpstreamTarget?
  public internal(set) var keepAlive = KeepAlive()
  var course = Course.serving
  var saslFailures = 0
  var lastUpstream = 0

  // The time, traffic and actions of the current event.
  var now = 0.0
  var traffic = Traffic()
  private var actions: [SessionAction] = []

  /// - Parameter now: in seconds, on the clock that `handle` is called with.
  public init(_ client: SessionClient, _ settings: SessionSettings, at now: Double) {
    self.client = client
    self.settings = settings
    identity = client.identity
    isReadOnly = client.isReadOnly
    state =
      client.authentication == .none
      ? .connected
      : .loggingIn(.awaited, until: settings.loginSeconds > 0 ? now + settings.loginSeconds : nil)
  }

  // MARK: Derived from the state

  public var isOver: Bool { if case .over = state { true } else { false } }

  /// The client has authenticated, or need not.
  public var isLoggedIn: Bool {
    switch state {
    case .loggingIn, .turnedAway: false
    default: true
    }
  }

  /// The relay routes no packet of the client except keepalive.
  public var isHeld: Bool {
    switch state {
    case .loggingIn(.beginning, _), .loggingIn(.stepping, _), .loggingIn(.askingPolkit, _): true
    case .opening, .closing, .leaving, .lost, .over: true
    case .loggingIn, .turnedAway, .connected, .open: isStopping
    }
  }

  /// The session needs `SessionEvent.progress` when packets have moved, because it ends when everything is sent.
  public var awaitsProgress: Bool {
    switch state {
    case .leaving, .lost: true
    case .over: false
    default: course != .serving
    }
  }

  var isStopping: Bool { course == .stopping }
  var isDraining: Bool { if case .draining = course { true } else { false } }

  /// The client's connection ends because its backend is gone.
  public var isLost: Bool { if case .lost = state { true } else { false } }

  /// When `SessionEvent.time` is due; nil: never.
  public var deadline: Double? {
    var least = Double.infinity
    switch state {
    case .loggingIn(_, let until): least = until ?? .infinity
    case .turnedAway(_, let until), .closing(_, let until), .leaving(let until): least = until
    case .connected, .opening, .open: least = keepAlive.lookAt ?? .infinity
    case .lost(let drain): least = drain.lookAt
    case .over: return nil
    }
    if case .draining(let idleAt?) = course { least = min(least, idleAt) }
    for upstream in upstreams where upstream.isOpening {
      least = min(least, upstream.deadline)
      switch upstream.state {
      case .resting(let until), .settling(let until): least = min(least, until)
      default: break
      }
    }
    return least < .infinity ? least : nil
  }

  /// The upstream that the client opened; nil: it does not exist yet or any more.
  public var main: Upstream? {
    switch state {
    case .opening(_, let id), .open(let id): upstreams.first { $0.id == id }
    default: nil
    }
  }

  /// Data was received from the client.
  public mutating func heard(at now: Double) { keepAlive.heardAt = now }

  /// The state in words, for tables and reports.
  public var stateText: String {
    switch state {
    case .loggingIn: "logging in"
    case .turnedAway: "turned away"
    case .connected: "connected"
    case .opening: "opening"
    case .open: upstreams.contains { $0.reopening != nil } ? "reopening" : "open"
    case .closing: "closing"
    case .leaving: "leaving"
    case .lost: "lost"
    case .over: "over"
    }
  }

  // MARK: Events

  /// Handles one event.
  ///
  /// A session that is over ignores all events, because a service or a daemon may still answer an earlier request.
  public mutating func handle(
    _ event: SessionEvent, _ traffic: Traffic, at now: Double
  ) -> [SessionAction] {
    guard !isOver else { return [] }
    self.now = now
    self.traffic = traffic
    switch event {
    case .turnAway(let refusal, let reason): turnAway(refusal, reason)
    case .call(let call, let body): answer(call, body)
    case .needsRoute(let driver): findRoute(for: driver)
    case .namesKnown(let names): namesKnown(names)
    case .sasl(let answer): saslAnswered(answer)
    case .polkit(let answer): polkitAnswered(answer)
    case .upstream(let id, let event): upstream(id, event)
    case .clientEnded(let end, let reason): clientEnded(end, reason)
    case .settings(let settings):
      self.settings = settings
      keepAlive.adopt(settings.keepAlive, at: now)
    case .drain: if course == .serving { course = .draining(idleAt: nil) }
    case .stop:
      course = .stopping
      progressed()
    case .end(let reason): end(reason)
    case .time: timeUp()
    case .progress: progressed()
    }
    defer { actions = [] }
    return actions
  }

  func isDue(_ time: Double) -> Bool { time <= now + 0.0005 }

  private mutating func timeUp() {
    switch state {
    case .loggingIn(_, let until):
      guard let until, isDue(until) else { break }
      let reason = Message(.notAuthenticatedInTime, [Int(settings.loginSeconds)])
      add(.note(.refused(.loginTime, reason)))
      return end(reason)
    case .turnedAway(_, let until):
      guard isDue(until) else { break }
      return end(Message(.turnedAwayWithoutCall))
    case .connected, .opening, .open:
      if let lookAt = keepAlive.lookAt, isDue(lookAt) { checkLiveness() }
    case .closing(_, let until):
      if isDue(until) { closeTimeUp() }
    case .leaving(let until):
      guard isDue(until) else { break }
      return end(Message(.lastReplyNotRead))
    case .lost(var drain):
      guard isDue(drain.lookAt) else { break }
      guard !drain.isHalfClosed, traffic.sentToClient != drain.sent else {
        return end(Message(.backendConnectionLost))
      }
      drain.sent = traffic.sentToClient
      drain.lookAt = now + Session.closeSeconds
      state = .lost(drain)
    case .over: return
    }
    for upstream in upstreams where upstream.isOpening && isDue(upstream.deadline) {
      openTimeUp(upstream)
    }
    for index in upstreams.indices { proceedIfDue(index) }
    if isDraining { endIfIdle() }
  }

  private mutating func checkLiveness() {
    var seen = KeepAlive.Traffic()
    seen.sent = traffic.sentToClient
    seen.waiting = traffic.waitingForClient
    seen.waitingForOthers = traffic.waitingForUpstreams
    seen.isPaused = traffic.isClientPaused
    switch keepAlive.look(settings.keepAlive, seen, at: now) {
    case .nothing: break
    case .ping(let unanswered):
      log(.keepAlive, .keepAlivePing, [unanswered])
      add(.send(Packets.keepAlive(KeepAliveProcedure.ping)))
    case .dead(let unanswered):
      add(.note(.keepAliveTimeout))
      end(
        Message(
          .keepAliveTimeout,
          [unanswered, settings.keepAlive.intervalSeconds, settings.keepAlive.count]))
    }
  }

  private mutating func progressed() {
    switch state {
    case .leaving:
      if traffic.waitingForClient == 0 { return end(Message(.closedByClient)) }
    case .lost(var drain):
      guard traffic.waitingForClient == 0, !drain.isHalfClosed else { break }
      // Closing the socket with unread bytes of the client would discard what the client has not received.
      drain.isHalfClosed = true
      state = .lost(drain)
      add(.closeSending)
    case .loggingIn, .turnedAway, .connected, .opening, .open, .closing, .over: break
    }
    if isStopping, isIdle { end(Message(.brokerStopping)) }
    if isDraining { endIfIdle() }
  }

  /// While the broker is draining: ends the session of an idle client, or sets the time when it will be idle.
  private mutating func endIfIdle() {
    guard case .open = state, !upstreams.contains(where: \.isOpening),
      let idleAt = traffic.activity?.idleAt
    else {
      course = .draining(idleAt: nil)
      return
    }
    course = .draining(idleAt: idleAt)
    if isDue(idleAt) { end(Message(.idleWhileDraining)) }
  }

  /// No call awaits its reply, and nothing is queued for the client.
  private var isIdle: Bool {
    switch state {
    case .opening, .closing: false
    default: traffic.awaitedCalls == 0 && traffic.waitingForClient == 0
    }
  }

  private mutating func clientEnded(_ end: LinkEnd, _ reason: Message) {
    switch end {
    case .closed where isLost, .failed where isLost: self.end(Message(.backendConnectionLost))
    case .closed, .failed, .violation, .brokenOff: self.end(reason)
    }
  }

  mutating func end(_ reason: Message) {
    guard !isOver else { return }
    state = .over
    upstreams = []
    add(.end(reason))
  }

  // MARK: Actions

  mutating func add(_ action: SessionAction) { actions.append(action) }

  /// - Parameter level: nil: the message's severity.
  mutating func log(
    _ topic: SessionLog.Topic, _ message: Message, at level: Severity? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    add(.log(SessionLog(topic, level ?? message.severity, message, file, line)))
  }

  mutating func log(
    _ topic: SessionLog.Topic, _ definition: MessageDefinition,
    _ arguments: [any CustomStringConvertible] = [], at level: Severity? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    log(topic, Message(definition, arguments), at: level, file: file, line: line)
  }

  mutating func reply(_ call: PacketHeader) { add(.send(Packets.reply(answering: call))) }

  mutating func reply(_ call: PacketHeader, _ result: some XDRBody) {
    add(.send(Packets.reply(answering: call, result)))
  }

  mutating func refuse(_ call: PacketHeader, _ error: RemoteError) {
    add(.send(Packets.error(answering: call, error)))
  }

  mutating func nextUpstream() -> Int {
    lastUpstream += 1
    return lastUpstream
  }
}
