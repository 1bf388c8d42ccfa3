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
  /// The same after a connection was dropped for that: it is closed by then.
  private static let shedPauseSeconds = 0.1

  /// As far as they can change while clients are connected, `adopt` changes them.
  var settings: BrokerSettings
  let log: BrokerLog
  let reactor: Reactor
  /// Threads for what may block.
  let blocking: BlockingPool
  let pool = SegmentPool()
  private(set) lazy var spareMemory = SpareMemory(of: pool, on: reactor)
  /// What clients make the broker hold.
  var memory: MemoryBudget
  let directory: SocketDirectory
  var watermarks: Watermarks
  let names: NameDirectory
  /// There where a listener asks for it.
  let sasl: SASLService?
  let polkit: PolkitAuthority?
  /// Clients by their network address, and by whose they are.
  var addresses = ClientCounts()
  var subjects = ClientCounts()
  let rateLimits: RateLimits
  let counts = BrokerCounts()
  /// There where one is configured.
  private(set) var audit: AuditLog?
  private var metricsServers: [MetricsServer] = []
  private lazy var lagWatch = LagWatch(self)
  private(set) var listeners: [Listener] = []
  private(set) var sessions: [UInt64: ClientSession] = [:]
  /// Who gets a place: connections are known there by their client's number.
  var admission: Admission
  /// Connections that wait for a place, and those over TLS that are being told that they have one.
  var pendingConnections: [UInt64: any PendingConnection] = [:]
  private(set) lazy var admissionAlarm = Alarm(on: reactor) { [unowned self] in lookForPlaces() }
  var displacedLoggedAt = -Double.infinity
  /// Closes what could keep the loop waiting.
  let closer: Closer
  /// Looks whether clients that are not read are still there.
  private(set) lazy var hangUpAlarm = Alarm(on: reactor) { [unowned self] in lookForHangUps() }
  var isHangUpLookDue = false
  private var lastClient: UInt64 = 0
  /// Where clients come in over TLS; nil: nowhere.
  private(set) var tlsAcceptor: TLSAcceptor?
  private var limitLoggedAt = -Double.infinity
  private var beganAt = 0.0
  private var signals: [SignalWatcher] = []
  /// Told when somebody has come or left, and when the broker begins to stop.
  public var clientsChanged: (() -> Void)?
  public var stopBegins: (() -> Void)?
  private(set) lazy var forwarding = Forwarding(settings.upstreams, broker: self)
  private(set) lazy var handshakes = HandshakePool(on: reactor)
  private(set) lazy var starter = DaemonStarter(broker: self)
  /// Programs that connections go through, and users' daemons.
  private(set) lazy var children = Children(on: reactor, log: log[.upstream])
  private(set) var admin: AdminService?
  /// How the log is changed while it is written; nil: it is not.
  public var logSteering: LogSteering?
  private lazy var idleAlarm = Alarm(on: reactor) { [unowned self] in idleTimeUp() }
  private lazy var stopAlarm = Alarm(on: reactor) { [unowned self] in stopTimeUp() }
  private lazy var acceptAlarm = Alarm(on: reactor) { [unowned self] in resumeAccepting() }
  /// Fires when the count of suppressed log lines is due in the log.
  private lazy var logAlarm = Alarm(on: reactor) { [unowned self] in
    log.sink.reportLeftOut(all: false)
  }
  /// Rings for the next sweep over the calls under way.
  private(set) lazy var sweepAlarm = Alarm(on: reactor) { [unowned self] in sweepCalls() }
  /// A sweep is due, or none ever is.
  var isSweepDue: Bool
  /// No new clients and no new calls: what is under way may end.
  private(set) var isStopping = false

  /// Binds every listener.
  /// - Throws: `BrokerFailure` naming the address and the reason where one cannot be had, or what is wrong
  ///   with the TLS certificates.
  public init(settings: BrokerSettings, log: BrokerLog) throws(BrokerFailure) {
    SpareMemory.limitArenas()
    self.settings = settings
    self.log = log
    isSweepDue = settings.slowCallSeconds <= 0
    reactor = try Reactor()
    blocking = BlockingPool(on: reactor)
    beganAt = reactor.now
    directory = SocketDirectory(
      settings: settings.backends, isPrivileged: geteuid() == 0,
      ownSockets: settings.listeners.compactMap {
        $0.unixPath
      })
    watermarks = Watermarks(settings.limits)
    memory = MemoryBudget(total: Broker.memory(settings.limits))
    let limit = descriptorLimit()
    closer = Closer(
      on: blocking, quota: Quota(total: max(512, limit / 8), share: max(512, limit / 32)))
    admission = Admission(
      gates: 0, mostClients: settings.limits.maxClients,
      mostUnauthenticated: settings.limits.maxAnonymousClients,
      mostWaiting: Broker.mostWaiting(settings.limits))
    names = NameDirectory(
      on: reactor, blocking, log: log[.names], waitSeconds: min(5, settings.openSeconds / 2))
    let methods = Set(settings.listeners.map(\.authentication))
    sasl = methods.contains(.sasl) ? try SASLService(settings.sasl) : nil
    polkit = methods.contains(.polkit) ? PolkitAuthority(on: reactor, log: log[.polkit]) : nil
    rateLimits = RateLimits(settings.rates)
    audit = try AuditLog(
      settings.audit, on: reactor, blocking, log: log[.audit], for: settings.account)
    if settings.listeners.contains(where: \.isTLS) {
      guard let tls = settings.tls else {
        throw BrokerFailure("a listener is for TLS, and no certificates are configured")
      }
      tlsAcceptor = try TLSAcceptor(tls, broker: self)
    }
    for listener in settings.listeners {
      listeners += try Listener.open(
        listener, broker: self, backlog: settings.limits.maxQueuedClients)
    }
    guard !listeners.isEmpty else { throw BrokerFailure("nothing to listen on is configured") }
    for (gate, listener) in listeners.enumerated() { listener.gate = gate }
    admission = Admission(
      gates: listeners.count, mostClients: settings.limits.maxClients,
      mostUnauthenticated: settings.limits.maxAnonymousClients,
      mostWaiting: Broker.mostWaiting(settings.limits))
    if let address = settings.metrics {
      do throws(BrokerFailure) {
        metricsServers = try MetricsServer.open(address, broker: self)
      } catch {
        throw BrokerFailure("metrics_listen: \(error)")
      }
    }
    if let listener = settings.adminListener {
      admin = try AdminService(listener, settings.admin, broker: self)
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
    admin?.start()
    tlsAcceptor?.start()
    for server in metricsServers { log.info("metrics are served on \(server.name)") }
    if !metricsServers.isEmpty { lagWatch.start() }
    occupancyChanged()
    log.sink.leftOut = { [unowned self] in logAlarm.start(seconds: LogLimit.windowSeconds) }
    reactor.run()
    log.sink.leftOut = nil
    tlsAcceptor?.close()
    pendingConnections = [:]
    for session in sessions.values { session.finish(because: "the broker stops") }
    if !metricsServers.isEmpty { lagWatch.stop() }
    metricsServers = []
    children.endAll()
    admin?.end()
    listeners = []
    signals = []
    handshakes.finish()
    audit?.close()
    reactor.releaseDeparted()
  }

  /// Stops accepting, lets replies in flight out for `stopSeconds`, then makes `run` return.
  public func stop() {
    guard !isStopping else { return reactor.stop() }
    isStopping = true
    log.info("stopping: \(counted(sessions.count, "client")) connected")
    stopBegins?()
    tlsAcceptor?.close()
    pendingConnections = [:]
    admin?.close()
    listeners = []
    stopAlarm.start(seconds: settings.stopSeconds)
    for session in sessions.values { session.post(.stop) }
    if sessions.isEmpty { reactor.stop() }
  }

  /// A timer on the loop that calls `ring` whenever it runs out.
  public func timer(_ ring: @escaping () -> Void) -> BrokerTimer { BrokerTimer(on: reactor, ring) }

  /// Calls `body` on the loop's thread each time the signal arrives while `run` is running.
  public func onSignal(_ number: Int32, _ body: @escaping () -> Void) {
    signals.append(SignalWatcher(number, on: reactor, body))
  }

  /// Seconds since it was made.
  var uptimeSeconds: Double { reactor.now - beganAt }

  /// Clients connected now.
  public var clientCount: Int { sessions.count }
  var allSessions: [ClientSession] { Array(sessions.values) }

  var servesMetrics: Bool { !metricsServers.isEmpty }
  /// Where metrics are served, with the port the kernel chose.
  public var metricsNames: [String] { metricsServers.map(\.name) }

  /// The certificates in use, where TLS is served.
  public var tlsStatus: TLSStatus? { tlsAcceptor?.status }

  /// The files of TLS as they are now, asked for by somebody who wants to know why not: the reason, where the
  /// new ones are refused.
  func renewCertificates(because reason: String) -> String? {
    tlsAcceptor?.reload(because: reason).map { "\($0)" }
  }

  /// Takes new limits into use. Who is there already stays.
  func setLimits(maxClients: Int, maxAnonymousClients: Int) {
    settings.limits.maxClients = maxClients
    settings.limits.maxAnonymousClients = maxAnonymousClients
    log.info("max_clients is now \(maxClients), max_anonymous_clients \(maxAnonymousClients)")
    limitsChanged()
  }

  /// The time without clients after which the broker ends, from now on; 0: it does not.
  func setIdleSeconds(_ seconds: Int) {
    settings.idleSeconds = seconds
    occupancyChanged()
  }

  /// The names of what is listened on, with the ports the kernel chose.
  public var listenerNames: [String] { listeners.map(\.name) }

  /// Where clients come in over networks: opening these would be opening the broker itself.
  var listenerAddresses: [Address] { listeners.compactMap(\.address) }

  // MARK: Clients come and go

  /// Every client, in no order.
  var clients: some Collection<ClientSession> { sessions.values }
  func session(_ id: UInt64) -> ClientSession? { sessions[id] }
  /// Clients that have to prove who they are and have not yet.
  var unauthenticatedCount: Int { listeners.reduce(0) { $0 + $1.unauthenticatedCount } }
  /// Of one listener.
  func unauthenticated(at listener: Listener) -> Int {
    admission.unauthenticated(at: listener.gate)
  }

  func accepted(
    _ descriptor: consuming Descriptor, from peer: Address?, on listener: Listener
  ) {
    if listener.settings.isAdmin, let admin { return admin.accepted(descriptor) }
    let isUNIX = listener.settings.isUNIX
    let origin = isUNIX ? Origin(ofUserAt: descriptor.number) : Origin(of: peer)
    if listener.settings.isTLS, let tlsAcceptor {
      return tlsAcceptor.greet(descriptor, from: peer, origin, on: listener)
    }
    if !isUNIX { ClientSession.tune(descriptor.number) }
    let transport = PlainTransport(
      descriptor, carriesDescriptors: isUNIX,
      foreign: isUNIX ? ForeignDescriptors(closer: closer, origin: origin) : nil)
    arrived(PlainPendingConnection(transport, from: peer, origin, on: listener, broker: self))
  }

  func nextClientID() -> UInt64 {
    lastClient += 1
    return lastClient
  }

  /// A connection that has a place and is ready for packets becomes a client.
  func admit(
    _ transport: any ClientTransport, from peer: Address?, _ origin: Origin, on listener: Listener,
    id: UInt64
  ) {
    let session = ClientSession(
      transport, from: peer, origin, on: listener, id: id, broker: self)
    sessions[id] = session
    session.log[.client].info("\(session.name) connected to \(listener.name)")
    clientsChanged?()
    occupancyChanged()
    session.begin()
    if admission.isFull {
      // At the limit each one that leaves lets one in: said once in a while is enough.
      let isNews = reactor.now - limitLoggedAt > 60
      if isNews { limitLoggedAt = reactor.now }
      log.line(
        isNews ? .warning : .debug,
        "max_clients (\(settings.limits.maxClients)) is reached by \(session.name): further clients "
          + "wait until one leaves")
    }
    if listener.settings.authentication != .none, admission.isFull(gate: listener.gate) {
      let isNews = reactor.now - listener.unauthenticatedLoggedAt > 60
      if isNews { listener.unauthenticatedLoggedAt = reactor.now }
      log.line(
        isNews ? .warning : .debug,
        "max_anonymous_clients (\(settings.limits.maxAnonymousClients)) is reached by "
          + "\(session.name): further clients of \(listener.name) wait until one authenticates or "
          + "leaves")
    }
  }

  func departed(_ session: ClientSession, because reason: String, _ level: BrokerLog.Level) {
    session.log[.client].line(level, "\(session.name) disconnected: \(reason)")
    // In this order: the reference given up here may be the last but the reactor's.
    reactor.depart(session)
    sessions[session.id] = nil
    clientsChanged?()
    if isStopping {
      if sessions.isEmpty { reactor.stop() }
      return
    }
    if let subject = session.identity.subject, subjects[subject] == 0 { rateLimits.forget(subject) }
    perform(admission.gone(session.id, now: reactor.now))
    resumeAccepting()
    occupancyChanged()
    spareMemory.clientLeft()
  }

  /// The time without clients begins, or ends. Administrators count, as in libvirt.
  func occupancyChanged() {
    if isEmpty, settings.idleSeconds > 0, !isStopping {
      idleAlarm.start(seconds: Double(settings.idleSeconds))
    } else {
      idleAlarm.stop()
    }
  }

  private var isEmpty: Bool { sessions.isEmpty && admin?.sessions.isEmpty != false }

  /// The kernel has no descriptor or memory for another client: those that wait are left waiting, since
  /// trying again at once would only spin.
  func cannotAccept(on listener: Listener, _ number: Int32) {
    pauseAccepting("cannot accept on \(listener.name): \(errorText(number))", at: .warning)
    admin?.pauseAccepting()
    // One that waits or has not logged in makes room, so that root is not kept out by these.
    let shed = admission.shed()
    acceptAlarm.start(seconds: shed == nil ? Broker.acceptPauseSeconds : Broker.shedPauseSeconds)
    if let shed { perform([shed]) }
  }

  private func pauseAccepting(_ reason: String, at level: BrokerLog.Level) {
    log.line(level, "\(reason): further clients wait until one leaves")
    for listener in listeners { listener.isAccepting = false }
  }

  func resumeAccepting() {
    guard !isStopping else { return }
    admin?.limitChanged()
    for listener in listeners where !listener.isAccepting { listener.isAccepting = true }
  }

  private func idleTimeUp() {
    guard isEmpty, !isStopping else { return }
    log.info("no client for \(settings.idleSeconds) s")
    stop()
  }

  private func stopTimeUp() {
    log.warning(
      "\(counted(sessions.count, "client")) still had work under way after \(settings.stopSeconds) s"
    )
    reactor.stop()
  }
}
