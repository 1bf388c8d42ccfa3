// From a listening socket to a client's place.
import Glibc
import Streams

/// Owns the listeners and every connection that is not a client yet, and executes the decisions of `Admission`: a
/// connection gets a place and becomes a session, waits, or ends. After `close` it owns neither.
final class Acceptor {
  private unowned let broker: Broker
  private(set) var listeners: [Listener] = []
  /// Nil: no listener uses TLS.
  private(set) var tls: TLSAcceptor?
  /// Identifies connections and sessions by their client's number.
  private var admission: Admission
  private var pause = AcceptPause()
  /// Connections that wait for a place, and those over TLS whose confirmation is being sent.
  private var pending: [UInt64: any PendingConnection] = [:]
  private var lastClient: UInt64 = 0
  /// Fires when `Admission` can decide more.
  private lazy var admissionAlarm = Alarm(on: broker.reactor) { [unowned self] in admitWaiting() }
  private lazy var resumeAlarm = Alarm(on: broker.reactor) { [unowned self] in resume() }
  private var fullWarning = WarningInterval()
  private var displacedWarning = WarningInterval()

  init(of broker: Broker) {
    self.broker = broker
    admission = Admission(gates: 0, mostClients: 0, mostUnauthenticated: 0, mostWaiting: 0)
  }

  /// Loads the certificates and binds every listener.
  /// - Throws: `BrokerFailure` with the address that cannot be bound and the reason, or with the error in the
  /// certificates.
  func open(_ settings: BrokerSettings) throws(BrokerFailure) {
    if settings.listeners.contains(where: \.isTLS) {
      guard let tls = settings.tls else {
        throw BrokerFailure(.certificatesNotConfigured)
      }
      self.tls = try TLSAcceptor(tls, broker: broker)
    }
    for listener in settings.listeners {
      listeners += try Listener.open(
        listener, acceptor: self, loop: broker.loop, account: settings.account,
        backlog: settings.limits.maxQueuedClients)
    }
    guard !listeners.isEmpty else { throw BrokerFailure(.nothingToListenOn) }
    for (gate, listener) in listeners.enumerated() { listener.gate = gate }
    admission = Admission(
      gates: listeners.count, mostClients: settings.limits.maxClients,
      mostUnauthenticated: settings.limits.maxAnonymousClients,
      mostWaiting: Acceptor.mostWaiting(settings.limits))
  }

  /// Limit of the connections that wait for a place: as many as a listener's backlog holds, within the limit of
  /// descriptors.
  private static func mostWaiting(_ limits: LimitSettings) -> Int {
    min(max(30, limits.maxQueuedClients), descriptorLimit() / 8)
  }

  /// Starts accepting. Call it once the log is being written.
  func start() {
    for listener in listeners {
      listener.isAccepting = true
      let kind =
        listener.settings.isTLS ? " (TLS)" : listener.settings.isReadOnly ? " (read-only)" : ""
      broker.log.write(.listening, [listener.name + kind])
      broker.authentication.describe(listener)
    }
  }

  /// Stops listening, and ends every connection that is not a client yet.
  func close() {
    tls?.close()
    pending = [:]
    listeners = []
  }

  // MARK: Accepting

  /// Clients of all listeners that must authenticate and have not.
  var unauthenticatedCount: Int { listeners.reduce(0) { $0 + $1.unauthenticatedCount } }
  /// The same for one listener.
  func unauthenticated(at listener: Listener) -> Int {
    admission.unauthenticated(at: listener.gate)
  }
  /// The network addresses of the listeners.
  var addresses: [Address] { listeners.compactMap(\.address) }
  /// Connections that wait for a place.
  var pendingConnections: [any PendingConnection] { Array(pending.values) }

  /// A listener has accepted a connection.
  func accepted(
    _ descriptor: consuming Descriptor, from peer: Address?, on listener: Listener
  ) {
    if listener.settings.isAdmin, let admin = broker.admin { return admin.accepted(descriptor) }
    let isUNIX = listener.settings.isUNIX
    let origin = isUNIX ? Origin(ofUserAt: descriptor.number) : Origin(of: peer)
    if listener.settings.isTLS, let tls {
      return tls.startHandshake(descriptor, from: peer, origin, on: listener)
    }
    if !isUNIX { ClientSession.tune(descriptor.number) }
    let transport = PlainTransport(
      descriptor, carriesDescriptors: isUNIX,
      foreign: isUNIX ? ForeignDescriptors(closer: broker.loop.closer, origin: origin) : nil)
    requestPlace(
      for: PlainPendingConnection(
        transport, from: peer, origin, on: listener, acceptor: self, log: broker.log[.client]))
  }

  /// The kernel has no descriptor or memory for another connection.
  func cannotAccept(on listener: Listener, _ number: Int32) {
    broker.log.write(.cannotAccept, [listener.name, errorText(number)])
    for listener in listeners { listener.isAccepting = false }
    broker.admin?.pauseAccepting()
    let (actions, seconds) = pause.failed(&admission, at: broker.reactor.now)
    resumeAlarm.start(seconds: seconds)
    perform(actions)
  }

  private func resume() {
    // A draining broker still accepts administrators.
    guard !broker.life.isStopping else { return }
    pause.resume()
    broker.admin?.limitChanged()
    for listener in listeners where !listener.isAccepting { listener.isAccepting = true }
  }

  // MARK: Admission

  /// A connection requests a place.
  func requestPlace(for connection: any PendingConnection) {
    lastClient += 1
    let id = lastClient
    connection.clientID = id
    pending[id] = connection
    let listener = connection.listener
    perform(
      admission.request(
        id, from: connection.origin, at: listener.gate,
        mustLogIn: listener.settings.authentication != .none, now: broker.reactor.now))
    if admission.waitingCount > 0 { broker.sessions.hangUps.start() }
  }

  /// A connection has ended before it became a client.
  func ended(_ connection: any PendingConnection) {
    guard let id = connection.clientID, pending.removeValue(forKey: id) != nil else { return }
    guard broker.life.acceptsClients else { return }
    perform(admission.closed(id, now: broker.reactor.now))
  }

  /// A connection that has a place and is ready for packets becomes a client.
  func open(
    _ connection: any PendingConnection, over transport: any ClientTransport, from peer: Address?
  ) {
    guard let id = connection.clientID else { return }
    pending[id] = nil
    let session = ClientSession(
      transport, from: peer, connection.origin, on: connection.listener, id: id, broker: broker)
    broker.opened(session, on: connection.listener)
    warnIfFull(session, on: connection.listener)
  }

  private func warnIfFull(_ session: ClientSession, on listener: Listener) {
    let limits = broker.settings.limits
    let now = broker.reactor.now
    if admission.isFull {
      broker.log.write(
        .maxClientsReached, [limits.maxClients, session.name],
        at: fullWarning.takeDue(at: now) ? .warning : .debug)
    }
    if listener.settings.authentication != .none, admission.isFull(gate: listener.gate) {
      broker.log.write(
        .maxAnonymousClientsReached, [limits.maxAnonymousClients, session.name, listener.name],
        at: listener.unauthenticatedWarning.takeDue(at: now) ? .warning : .debug)
    }
  }

  /// A client that must authenticate has done so.
  func authenticated(_ session: ClientSession) {
    guard broker.life.acceptsClients else { return }
    perform(admission.authenticated(session.id, now: broker.reactor.now))
  }

  /// A client has left: its place and its descriptors are free.
  func closed(_ session: ClientSession) {
    perform(admission.closed(session.id, now: broker.reactor.now))
    resume()
  }

  /// The limits have changed. Connected clients stay.
  func limitsChanged() {
    let limits = broker.settings.limits
    admission.mostClients = limits.maxClients
    admission.mostUnauthenticated = limits.maxAnonymousClients
    admission.mostWaiting = Acceptor.mostWaiting(limits)
    admitWaiting()
  }

  private func admitWaiting() {
    guard broker.life.acceptsClients else { return }
    perform(admission.fill(at: broker.reactor.now))
  }

  private func perform(_ actions: [Admission.Action]) {
    for action in actions where broker.life.acceptsClients {
      switch action {
      case .admit(let id): pending[id]?.admitted()
      case .drop(let id): drop(id)
      }
    }
    if let time = admission.nextCheck {
      admissionAlarm.start(seconds: max(0.01, time - broker.reactor.now))
    }
  }

  private func drop(_ id: UInt64) {
    let why = Message(.placeGivenAway)
    let connection = pending[id]
    let session = broker.sessions[id]
    if let who = connection?.origin ?? session?.origin,
      displacedWarning.takeDue(at: broker.reactor.now)
    {
      broker.log.write(.oldestUnauthenticatedClosed, [who])
    }
    if let connection {
      connection.dropped(why)
    } else {
      session?.finish(because: why)
    }
  }
}
