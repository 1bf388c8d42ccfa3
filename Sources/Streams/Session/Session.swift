// One client's session: what may happen next, and what is done about each event.

/// The state machine of a session, from the moment the client has a place until its connection is over: login, opening
/// and closing, upstreams, liveness, the end. It does nothing itself. `handle` takes one event and returns the actions
/// that it leads to; the driver carries them out and reports what comes of them as further events.
///
///     loggingIn ──▶ connected ──▶ opening ──▶ open ──▶ closing ──▶ leaving ──▶ over
///         │                                     │                     ▲
///         └──▶ turnedAway ──────────────────────│─────────────────────┘
///                                               └──▶ lost ──▶ over
///
/// Packets that do not concern it never reach it: the relay passes them on.
public struct Session: Sendable {
  /// Where the client is in its life. Whatever else is known follows from this, the upstreams and `keepAlive`.
  enum State: Sendable {
    /// The client has to authenticate, until the time given if there is one.
    case loggingIn(Login, until: Double?)
    /// One too many: its first call is answered with this error, then the connection ends.
    case turnedAway(RemoteError, until: Double)
    /// No CONNECT_OPEN has succeeded yet.
    case connected
    /// CONNECT_OPEN is under way: its serial and the upstream that it leads to.
    case opening(serial: UInt32, main: Int)
    case open(main: Int)
    /// CONNECT_CLOSE is under way: its serial, and when the client is answered at the latest.
    case closing(serial: UInt32, until: Double)
    /// The last reply goes out, then the connection ends.
    case leaving(until: Double)
    /// The connection to the backend that the client opened is lost. The queued packets go out, then the connection
    /// ends.
    case lost(Farewell)
    case over
  }

  /// How far a client has come with authenticating.
  enum Login: Sendable {
    /// Nothing is under way.
    case awaited
    /// The service lists its mechanisms; the call that its answer replies to.
    case beginning(PacketHeader)
    /// The client may choose one.
    case offered
    /// The service is asked about what the client said.
    case stepping(PacketHeader)
    /// The client may say more.
    case started
    /// polkit decides about this action.
    case askingPolkit(PacketHeader, action: String)
  }

  /// The end of a client whose backend is lost.
  struct Farewell: Sendable {
    /// What had been sent to it at the last look. A slow client gets everything, as long as it reads.
    var sent: UInt64
    var lookAt: Double
    /// This side is closed. The client closes the other one when it has read everything.
    var isHalfClosed = false
  }

  /// What a session has to know of the relay's traffic.
  public struct Traffic: Sendable {
    /// Bytes that were sent to the client, and that wait for it.
    public var sentToClient: UInt64 = 0
    public var waitingForClient = 0
    public var waitingForUpstreams = 0
    /// Bytes of the client that were read and not looked at yet.
    public var unrouted = 0
    /// Calls of the client whose replies are awaited.
    public var awaitedCalls = 0
    public var isClientPaused = false
    public init() {}
  }

  /// How long daemons may take to close before the client is answered anyway, and a client to read its last reply.
  static let closeSeconds = 5.0
  /// How long a client that is one too many may take to ask something, so that it can be told.
  static let refusalSeconds = 5.0
  /// Failures of SASL after which a connection is closed: guessing must not be convenient.
  static let mostSASLFailures = 8

  let client: SessionClient
  var settings: SessionSettings
  public internal(set) var identity: VerifiedIdentity
  var state: State
  /// Read-only by its listener, or by the flag it opened with.
  public internal(set) var isReadOnly: Bool
  public internal(set) var upstreams: [Upstream] = []
  /// What the client opened or is opening, also after the upstream has gone.
  public internal(set) var opened: UpstreamTarget?
  public internal(set) var keepAlive = KeepAlive()
  /// The broker stops.
  var isStopping = false
  var saslFailures = 0
  private var lastUpstream = 0

  // The event under way.
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

  // MARK: What follows from the state

  public var isOver: Bool { if case .over = state { true } else { false } }

  /// The client need not authenticate, or has.
  public var isLoggedIn: Bool {
    switch state {
    case .loggingIn, .turnedAway: false
    default: true
    }
  }

  /// Nothing of the client is looked at but keepalive.
  public var isHeld: Bool {
    switch state {
    case .loggingIn(.beginning, _), .loggingIn(.stepping, _), .loggingIn(.askingPolkit, _): true
    case .opening, .closing, .leaving, .lost, .over: true
    case .loggingIn, .turnedAway, .connected, .open: isStopping
    }
  }

  /// It has to be told when packets have moved: it ends as soon as everything is sent.
  public var awaitsProgress: Bool {
    switch state {
    case .leaving, .lost: true
    case .over: false
    default: isStopping
    }
  }

  /// The client's connection ends because its backend is gone.
  public var isLost: Bool { if case .lost = state { true } else { false } }

  /// When `SessionEvent.time` is due; nil: not at all.
  public var deadline: Double? {
    var least = Double.infinity
    switch state {
    case .loggingIn(_, let until): least = until ?? .infinity
    case .turnedAway(_, let until), .closing(_, let until), .leaving(let until): least = until
    case .connected, .opening, .open: least = keepAlive.lookAt ?? .infinity
    case .lost(let farewell): least = farewell.lookAt
    case .over: return nil
    }
    for upstream in upstreams where upstream.isOpening { least = min(least, upstream.deadline) }
    return least < .infinity ? least : nil
  }

  /// The upstream that the client opened, while it is there.
  public var main: Upstream? {
    switch state {
    case .opening(_, let id), .open(let id): upstreams.first { $0.id == id }
    default: nil
    }
  }

  /// Something came from the client.
  public mutating func heard(at now: Double) { keepAlive.heardAt = now }

  /// The state in words, for tables and reports.
  public var stateText: String {
    switch state {
    case .loggingIn: "logging in"
    case .turnedAway: "turned away"
    case .connected: "connected"
    case .opening: "opening"
    case .open: "open"
    case .closing: "closing"
    case .leaving: "leaving"
    case .lost: "lost"
    case .over: "over"
    }
  }

  // MARK: Events

  /// Handles one event.
  ///
  /// A session that is over ignores everything: what was asked of a service or a daemon may still be answered.
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
    case .stop:
      isStopping = true
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
    case .lost(var farewell):
      guard isDue(farewell.lookAt) else { break }
      guard !farewell.isHalfClosed, traffic.sentToClient != farewell.sent else {
        return end(Message(.backendConnectionLost))
      }
      farewell.sent = traffic.sentToClient
      farewell.lookAt = now + Session.closeSeconds
      state = .lost(farewell)
    case .over: return
    }
    for upstream in upstreams where upstream.isOpening && isDue(upstream.deadline) {
      openTimeUp(upstream)
    }
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
    case .lost(var farewell):
      guard traffic.waitingForClient == 0, !farewell.isHalfClosed else { break }
      // Closing the socket with unread bytes of the client would discard what the client has not received.
      farewell.isHalfClosed = true
      state = .lost(farewell)
      add(.closeSending)
    case .loggingIn, .turnedAway, .connected, .opening, .open, .closing, .over: break
    }
    if isStopping, isIdle { end(Message(.brokerStopping)) }
  }

  /// Nothing is under way: no call awaits its reply, nothing waits to be sent.
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
