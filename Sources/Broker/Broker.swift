// The broker: owns its parts, and coordinates what concerns several of them.
public import Streams

/// A failure at start, as one message for the administrator.
public struct BrokerFailure: Error, Equatable, CustomStringConvertible {
  public let message: Message
  /// The message without its identifiers.
  public var description: String { message.text }
  public init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
    message = Message(definition, arguments)
  }
  public init(_ message: Message) { self.message = message }
}

/// Everything that runs, on one thread. Made, run and released by the daemon's `main`.
///
///     accepted connection ──▶ acceptor ──▶ sessions ──▶ backends
///                                │  authentication │
///     life: serving, stopping     loop: what all run on   observation: what they record   admin: who changes it
///
/// Each part owns its state. What a client's arrival, its end, new settings or a stop change in several parts is here.
public final class Broker {
  /// The configured settings, with the changes that administrators have made. A part that keeps a copy of its settings
  /// applies its copy.
  var settings: BrokerSettings
  let log: BrokerLog
  let loop: LoopServices
  let authentication: AuthenticationServices
  let observation: Observation
  private(set) lazy var acceptor = Acceptor(of: self)
  private(set) lazy var sessions = SessionSet(of: self)
  private(set) lazy var backends = Backends(settings, loop: loop, log: log) { [unowned self] in
    acceptor.addresses
  }
  private(set) lazy var life = LifeCycle(on: reactor) { [unowned self] in idleTimeUp() }
  /// Nil: there is no admin socket.
  private(set) var admin: AdminService?
  private var signals: [SignalWatcher] = []
  /// How administrators change the log; nil: they cannot.
  public var logSteering: LogSteering?
  /// Called when a client has connected or left.
  public var clientsChanged: (() -> Void)?
  /// Called when the broker begins to drain.
  public var drainBegins: (() -> Void)?
  /// Called when the broker begins to stop.
  public var stopBegins: (() -> Void)?

  var reactor: Reactor { loop.reactor }

  /// Binds every listener.
  /// - Throws: `BrokerFailure` with the address that cannot be bound and the reason, or with the error in the TLS
  /// certificates.
  public init(settings: BrokerSettings, log: BrokerLog) throws(BrokerFailure) {
    self.settings = settings
    self.log = log
    loop = try LoopServices()
    authentication = try AuthenticationServices(settings, loop: loop, log: log)
    observation = try Observation(settings, loop: loop, log: log)
    _ = life
    try acceptor.open(settings)
    if let address = settings.metrics { try observation.openMetrics(address, of: self) }
    if let listener = settings.adminListener {
      admin = try AdminService(listener, settings.admin, broker: self)
    }
  }

  // MARK: Running

  /// Serves clients until stopped. Returns when the last client has left.
  public func run() {
    acceptor.start()
    admin?.start()
    acceptor.tls?.start()
    observation.start()
    occupancyChanged()
    reactor.run()
    acceptor.close()
    for session in sessions.all { session.finish(because: Message(.brokerStopping)) }
    observation.stop()
    backends.children.endAll()
    admin?.end()
    signals = []
    loop.handshakes.finish()
    observation.audit?.close()
    loop.end()
  }

  /// Stops accepting, lets calls under way finish for `stopSeconds`, then makes `run` return. If the broker is already
  /// stopping, `run` returns at once.
  public func stop() {
    let isFirst = !life.isStopping
    life.stop(clients: sessions.count, within: settings.timeouts.stopSeconds) {
      [unowned self] in stopTimeUp()
    }
    guard isFirst else { return endIfOver() }
    log.write(.stopping, [counted(sessions.count, "client")])
    stopBegins?()
    acceptor.close()
    admin?.close()
    for session in sessions.all { session.post(.stop) }
    endIfOver()
  }

  private func stopTimeUp() {
    log.write(
      .clientsCutOff, [counted(sessions.count, "client"), settings.timeouts.stopSeconds])
    endIfOver()
  }

  func endIfOver() { if life.isOver { reactor.stop() } }

  /// A timer on the loop that calls `ring` whenever it runs out.
  public func timer(_ ring: @escaping () -> Void) -> BrokerTimer { BrokerTimer(on: reactor, ring) }

  /// Calls `body` on the loop's thread each time the signal arrives while `run` is running.
  public func onSignal(_ number: Int32, _ body: @escaping () -> Void) {
    signals.append(SignalWatcher(number, on: reactor, body))
  }

  // MARK: Clients

  /// A connection has become a client.
  func opened(_ session: ClientSession, on listener: Listener) {
    sessions.add(session)
    session.log[.client].write(.clientConnected, [session.name, listener.name])
    clientsChanged?()
    occupancyChanged()
    session.begin()
  }

  /// A client's connection has ended.
  func closed(_ session: ClientSession, because reason: Message) {
    session.log[.client].write(
      .clientDisconnected, [session.name, reason], at: reason.severity)
    // In this order: the set may release the last reference but the reactor's.
    reactor.releaseAfterTurn(session)
    sessions.remove(session)
    clientsChanged?()
    guard life.acceptsClients else { return clientLeft() }
    acceptor.closed(session)
    occupancyChanged()
    loop.spareMemory.clientLeft()
  }

  /// A client of a broker that drains or stops has left.
  private func clientLeft() {
    let wasDraining = life.isDraining
    life.clientLeft(leaving: sessions.count)
    if wasDraining, life.isOver { log.write(.drained) }
    if wasDraining { loop.spareMemory.clientLeft() }
    endIfOver()
  }

  /// Starts or stops the idle timeout. Administrators count as clients here, as in libvirt.
  func occupancyChanged() {
    life.occupancyChanged(isEmpty: isEmpty, idleSeconds: settings.timeouts.idleSeconds)
  }

  private var isEmpty: Bool { sessions.isEmpty && admin?.sessions.isEmpty != false }

  private func idleTimeUp() {
    log.write(.noClientForSeconds, [settings.timeouts.idleSeconds])
    stop()
  }

  /// Number of connected clients.
  public var clientCount: Int { sessions.count }

  // MARK: Listeners

  /// The names of the listeners, with the ports that the kernel chose.
  public var listenerNames: [String] { acceptor.listeners.map(\.name) }
  /// The addresses that serve metrics, with the ports that the kernel chose.
  public var metricsNames: [String] { observation.metricsNames }
  /// The certificates in use; nil: no listener uses TLS.
  public var tlsStatus: TLSStatus? { acceptor.tls?.status }
}
