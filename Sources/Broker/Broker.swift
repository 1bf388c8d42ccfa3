// The broker: owns the loop, every listener and every client session.
import Glibc
import Streams

/// Trouble at start: one clear sentence for the administrator.
public struct BrokerFailure: Error, Equatable, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// Everything that runs, on one thread. Made, run and released by the daemon's `main`.
public final class Broker {
  /// After running out of descriptors, accepting is tried again when a client leaves or after this time.
  private static let acceptPauseSeconds = 5.0

  let settings: BrokerSettings
  let log: BrokerLog
  let reactor: Reactor
  let pool = SegmentPool()
  let directory: SocketDirectory
  let marks: Marks
  let names: NameDirectory
  /// There where a listener asks for it.
  let sasl: SASLService?
  let polkit: PolkitAuthority?
  /// Clients by their network address, and by whose they are.
  var addresses = Census()
  var subjects = Census()
  let rateLimits: RateLimits
  let tally = Tally()
  /// There where one is configured.
  private(set) var audit: AuditLog?
  private var metricsServers: [MetricsServer] = []
  private lazy var lagWatch = LagWatch(self)
  private var listeners: [Listener] = []
  private var sessions: [UInt64: ClientSession] = [:]
  private var lastClient: UInt64 = 0
  /// Where clients come in over TLS; nil: nowhere.
  private var door: TLSDoor?
  private var limitLoggedAt = -Double.infinity
  private var signals: [SignalWatcher] = []
  private lazy var idleAlarm = Alarm(on: reactor) { [unowned self] in idleTimeUp() }
  private lazy var stopAlarm = Alarm(on: reactor) { [unowned self] in stopTimeUp() }
  private lazy var acceptAlarm = Alarm(on: reactor) { [unowned self] in resumeAccepting() }
  /// No new clients and no new calls: what is under way may end.
  private(set) var isStopping = false

  /// Binds every listener.
  /// - Throws: `BrokerFailure` naming the address and the reason where one cannot be had, or what is wrong
  ///   with the TLS certificates.
  public init(settings: BrokerSettings, log: BrokerLog) throws(BrokerFailure) {
    self.settings = settings
    self.log = log
    reactor = try Reactor()
    directory = SocketDirectory(
      settings: settings.backends, isPrivileged: geteuid() == 0,
      ownSockets: settings.listeners.compactMap {
        if case .unix(let path, _, _) = $0.address { path } else { nil }
      })
    marks = Marks(high: settings.limits.bufferBytes, ahead: settings.limits.bufferBytes)
    names = NameDirectory(on: reactor, log: log, waitSeconds: min(5, settings.openSeconds / 2))
    let methods = Set(settings.listeners.map(\.authentication))
    sasl = methods.contains(.sasl) ? try SASLService(settings.sasl, on: reactor) : nil
    polkit = methods.contains(.polkit) ? PolkitAuthority(on: reactor, log: log) : nil
    rateLimits = RateLimits(settings.rates)
    audit = try AuditLog(settings.audit, on: reactor, log: log)
    if settings.listeners.contains(where: \.isTLS) {
      guard let tls = settings.tls else {
        throw BrokerFailure("a listener is for TLS, and no certificates are configured")
      }
      door = try TLSDoor(tls, broker: self)
    }
    for listener in settings.listeners {
      listeners += try Listener.open(
        listener, broker: self, backlog: settings.limits.maxQueuedClients)
    }
    guard !listeners.isEmpty else { throw BrokerFailure("nothing to listen on is configured") }
    if let address = settings.metrics {
      metricsServers = try MetricsServer.open(address, broker: self)
    }
  }

  /// Serves clients until stopped. Returns when the last of them is gone.
  public func run() {
    for listener in listeners {
      listener.isAccepting = true
      let kind =
        listener.settings.isTLS ? " (TLS)" : listener.settings.isReadOnly ? " (read-only)" : ""
      log.info("listening on \(listener.name)\(kind)")
      describeLogin(at: listener)
    }
    door?.start()
    for server in metricsServers { log.info("metrics are served on \(server.name)") }
    if !metricsServers.isEmpty { lagWatch.start() }
    if settings.idleSeconds > 0 { idleAlarm.start(seconds: Double(settings.idleSeconds)) }
    reactor.run()
    door?.close()
    for session in sessions.values { session.finish(because: "the broker stops") }
    if !metricsServers.isEmpty { lagWatch.stop() }
    metricsServers = []
    listeners = []
    signals = []
    audit?.close()
  }

  /// Stops accepting, lets replies in flight out for `stopSeconds`, then makes `run` return.
  public func stop() {
    guard !isStopping else { return reactor.stop() }
    isStopping = true
    log.info("stopping: \(sessions.count) clients connected")
    door?.close()
    listeners = []
    stopAlarm.start(seconds: settings.stopSeconds)
    for session in sessions.values {
      session.relay.isHeld = true
      session.settle()
    }
    if sessions.isEmpty { reactor.stop() }
  }

  /// Calls `body` on the loop's thread each time the signal arrives while `run` is running.
  public func onSignal(_ number: Int32, _ body: @escaping () -> Void) {
    signals.append(SignalWatcher(number, on: reactor, body))
  }

  /// Clients connected now.
  public var clientCount: Int { sessions.count }
  var allSessions: [ClientSession] { Array(sessions.values) }

  /// Where metrics are served, with the port the kernel chose.
  public var metricsNames: [String] { metricsServers.map(\.name) }

  /// The certificates in use, where TLS is served.
  public var tlsStatus: TLSStatus? { door?.status }

  /// Takes what can change while clients are connected from its files: the TLS certificates. False where
  /// there is nothing to take.
  @discardableResult
  public func reload(because reason: String) -> Bool {
    guard !isStopping, door != nil || audit != nil else { return false }
    audit?.reopen()
    door?.reload(because: reason)
    return true
  }

  /// The names of what is listened on, with the ports the kernel chose.
  public var listenerNames: [String] { listeners.map(\.name) }

  // MARK: Clients come and go

  func accepted(_ descriptor: consuming Descriptor, on listener: Listener) {
    if listener.settings.isTLS, let door { return door.greet(descriptor, on: listener) }
    let isUNIX = listener.settings.isUNIX
    if !isUNIX { ClientSession.tune(descriptor.number) }
    admit(PlainTransport(descriptor, carriesDescriptors: isUNIX), on: listener)
  }

  /// One more may come in there, besides those that are about to.
  func hasRoom(at listener: Listener) -> Bool {
    !isFull && !isFullOfStrangers(listener) && !isStopping
  }

  private var isFull: Bool {
    sessions.count + (door?.entering ?? 0) >= settings.limits.maxClients
  }

  /// A connection that is ready for packets becomes a client.
  func admit(_ transport: any ClientTransport, on listener: Listener) {
    lastClient += 1
    let session = ClientSession(transport, on: listener, id: lastClient, broker: self)
    sessions[lastClient] = session
    log.info("\(session.name) connected to \(listener.name)")
    idleAlarm.stop()
    session.begin()
    if isFull {
      // At the limit each one that leaves lets one in: said once in a while is enough.
      let isNews = reactor.now - limitLoggedAt > 60
      if isNews { limitLoggedAt = reactor.now }
      pauseAccepting(
        "max_clients (\(settings.limits.maxClients)) is reached by \(session.name)",
        at: isNews ? .warning : .debug)
    }
    if listener.isAccepting, isFullOfStrangers(listener) {
      let isNews = reactor.now - listener.strangersLoggedAt > 60
      if isNews { listener.strangersLoggedAt = reactor.now }
      log.line(
        isNews ? .warning : .debug,
        "max_anonymous_clients (\(settings.limits.maxAnonymousClients)) is reached by "
          + "\(session.name): further clients of \(listener.name) wait until one authenticates or "
          + "leaves")
      listener.isAccepting = false
    }
  }

  /// Each listener by itself: strangers at one do not shut out who comes in by another.
  private func isFullOfStrangers(_ listener: Listener) -> Bool {
    let most = settings.limits.maxAnonymousClients
    guard most > 0, listener.settings.authentication != .none else { return false }
    return listener.strangers + listener.entering >= most
  }

  /// A client that had to has proved who it is, or has left without.
  func strangerGone(of listener: Listener?) {
    guard let listener else { return }
    listener.strangers -= 1
    placeIsFree()
  }

  /// Whoever has waited longest comes in first: those who are verified already, then the backlogs.
  func placeIsFree() {
    guard !isStopping else { return }
    door?.letWaitingIn()
    resumeAccepting()
  }

  func departed(_ session: ClientSession, because reason: String, _ level: BrokerLog.Level) {
    log.line(level, "\(session.name) disconnected: \(reason)")
    // In this order: the reference given up here may be the last but the reactor's.
    reactor.depart(session)
    sessions[session.id] = nil
    if isStopping {
      if sessions.isEmpty { reactor.stop() }
      return
    }
    if let subject = session.identity.subject, subjects[subject] == 0 { rateLimits.forget(subject) }
    placeIsFree()
    if sessions.isEmpty, settings.idleSeconds > 0 {
      idleAlarm.start(seconds: Double(settings.idleSeconds))
    }
  }

  /// The kernel has no descriptor or memory for another client: those that wait are left waiting, since
  /// trying again at once would only spin.
  func cannotAccept(on listener: Listener, _ number: Int32) {
    pauseAccepting("cannot accept on \(listener.name): \(errorText(number))", at: .warning)
    acceptAlarm.start(seconds: Broker.acceptPauseSeconds)
  }

  private func pauseAccepting(_ reason: String, at level: BrokerLog.Level) {
    log.line(level, "\(reason): further clients wait until one leaves")
    for listener in listeners { listener.isAccepting = false }
  }

  private func resumeAccepting() {
    for listener in listeners
    where !listener.isAccepting && hasRoom(at: listener) && door?.isAwaited(at: listener) != true {
      listener.isAccepting = true
    }
  }

  private func idleTimeUp() {
    guard sessions.isEmpty, !isStopping else { return }
    log.info("no client for \(settings.idleSeconds) s")
    stop()
  }

  private func stopTimeUp() {
    log.warning(
      "\(sessions.count) clients still had work under way after \(settings.stopSeconds) s")
    reactor.stop()
  }
}
