// One client: its connection, its upstream connections, and the state machine that decides about them.
import Glibc
import Streams

/// A connected client, from when it has a place until its connection is over. The broker releases it at the end of that
/// turn. `Session` decides; this class executes.
final class ClientSession: Handler {
  unowned let broker: Broker
  let source: ClientSource
  private let logClient: LogClient
  let transport: any ClientTransport
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  /// Counts the segments that hold data from the client or for it.
  let pool: SegmentPool
  /// Bytes of these segments at the last count.
  var heldBytes = 0
  private var madeDriver: SessionDriver?
  var login: ClientLogin
  var upstreams: [UpstreamConnection] = []
  /// The lost daemons of parked upstreams, by their numbers.
  var parked: [Int: Backend] = [:]
  /// The names of lost daemons that the client waits for.
  var awaited: [String] = []
  let audit: AuditLog?
  /// The client's identity as fields of audit records, once one has been built.
  var auditFields: [UInt8]?
  /// Wakes a stream that waits for its rate.
  private let rateTimer: RateTimer
  /// Limit of the kernel's receive buffer for the client, in bytes; 0: the kernel chooses.
  var mostHeldByKernel: Int32 = 0

  init(
    _ transport: any ClientTransport, from peerAddress: Address?, _ origin: Origin,
    on listener: Listener, id: UInt64, broker: Broker
  ) {
    self.broker = broker
    self.transport = transport
    let now = broker.reactor.now
    let tlsPeer = (transport as? TLSTransport)?.peer
    let identity = VerifiedIdentity(
      peer: listener.settings.isUNIX ? UnixPeer(of: transport.number) : nil,
      distinguishedName: tlsPeer?.distinguishedName)
    source = ClientSource(
      id: id, identity, from: peerAddress, origin, on: listener.settings, at: now)
    logClient = LogClient(id: id, identity: identity.subject)
    login = ClientLogin(at: listener, transport.number, from: peerAddress, tls: tlsPeer)
    pool = SegmentPool(sharing: broker.loop.segments)
    audit = broker.observation.audit
    watcher = DescriptorWatcher(transport.number, on: broker.reactor)
    timer = TimerWatcher(on: broker.reactor)
    rateTimer = RateTimer(on: broker.reactor)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    rateTimer.session = self
    let session = Session(
      SessionClient(
        identity: identity, authentication: login.method,
        isReadOnly: listener.settings.isReadOnly, mark: broker.backends.forwarding.mark,
        seed: id),
      SessionSettings(broker.settings), at: now)
    madeDriver = SessionDriver(
      session, host: self, client: login.layer(over: transport), pool: pool,
      maxRequests: broker.settings.limits.maxClientRequests,
      watermarks: Watermarks(broker.settings.limits))
    watcher.watch(relay.clientInterest)
    deadlineChanged(to: session.deadline)
  }

  deinit { watcher.watch([]) }

  /// Created right after the session itself, which is its host.
  var driver: SessionDriver {
    guard let madeDriver else {
      preconditionFailure("the initializer has made the driver")
    }
    return madeDriver
  }

  var relay: Relay { driver.relay }
  var session: Session { driver.session }
  var isOver: Bool { driver.isOver }
  var identity: VerifiedIdentity { session.identity }
  var isReadOnly: Bool { session.isReadOnly }
  var id: UInt64 { source.id }
  var name: String { source.name }
  var origin: Origin { source.origin }
  /// The log, for lines about this client.
  var log: BrokerLog { broker.log.about(logClient) }
  /// Closes the descriptors that the client passes, and those that its daemons return.
  var foreign: ForeignDescriptors { ForeignDescriptors(closer: broker.loop.closer, origin: origin) }

  /// Sets the options of every network connection.
  static func tune(_ descriptor: Int32) {
    // The kernel detects a host that vanishes within a minute, even if the peer sends no keepalive packets or the
    // broker does not read them.
    setOption(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    // Data in the kernel's send queue delays everything behind it, for example a console's echo.
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, 128 * 1024)
  }

  // MARK: Turns

  /// Seconds on the loop's clock.
  var now: Double { watcher.reactor.now }

  override func ready(_ ready: Interest) {
    let relay = relay
    let before = relay.receivedFromClient &+ relay.sentToClient
    driver.clientReady(ready, at: now)
    noteMoved(relay.receivedFromClient &+ relay.sentToClient &- before)
  }

  override func again() {
    guard !isOver, relay.clientInterest.contains(.read) else { return }
    ready(.read)
  }

  override func timeUp() { post(.time) }

  /// Moves data that can move after a change that did not come from a socket.
  func settle() {
    guard !isOver else { return }
    driver.settle(at: broker.reactor.now)
  }

  /// Passes an event to the session.
  func post(_ event: SessionEvent) { driver.post(event, at: broker.reactor.now) }

  /// Ends the connection at once, with everything that belongs to it. The reason's severity is that of the log line.
  func finish(because reason: Message) { post(.end(reason)) }

  /// Writes a message with the client's name in front.
  func write(
    _ message: Message, to source: BrokerLog.Source, at level: Severity? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    log[source].write(message.prefixed("\(name): "), at: level, file: file, line: line)
  }

  func deadlineChanged(to deadline: Double?) {
    guard let deadline else { return timer.stop() }
    timer.start(seconds: max(0.001, deadline - broker.reactor.now))
  }

  /// Watches for the events that the session can handle in its state.
  func turnEnded() {
    let relay = relay
    let interest = relay.clientInterest
    watcher.watch(interest)
    if !interest.contains(.read) {
      broker.sessions.hangUps.start()
    } else if transport.holdsBytes {
      // No descriptor announces data that has been read and decrypted already.
      broker.reactor.continueSoon(self)
    }
    for upstream in upstreams { upstream.watch(relay) }
    if relay.awaitedCount > 0 { broker.sessions.slowCalls.start() }
    watchRates()
    countMemory()
  }

  private func watchRates() {
    guard rateTimer.isSet || mostHeldByKernel > 0 || relay.hasMeteredStreams else { return }
    rateTimer.set(relay.nextMeteredTime.map { $0 - broker.reactor.now })
    if mostHeldByKernel > 0, !relay.hasMeteredStreams { widen() }
  }

  /// The socket is not watched for reading, so the loop does not notice that the client has left.
  var isNotRead: Bool { !isOver && !watcher.interest.contains(.read) }

  // MARK: The end

  /// Stops everything. Call it once, when the session is over.
  func close(because reason: Message) {
    timer.stop()
    rateTimer.set(nil)
    watcher.watch([])
    for upstream in upstreams { release(upstream) }
    upstreams = []
    parked = [:]
    for name in awaited {
      broker.sessions.outages.ends(name, isReopened: false, at: broker.reactor.now)
    }
    awaited = []
    driver.clear(at: broker.reactor.now)
    countMemory()
    recordClosed(reason.text)
    endLogin()
    broker.closed(self, because: reason)
  }

  func release(_ upstream: UpstreamConnection) {
    upstream.stop()
    // The session may release the last reference but this one.
    broker.reactor.releaseAfterTurn(upstream)
  }

  /// More is known about the client's identity.
  func identityChanged() {
    auditFields = nil
    logClient.identity = identity.subject
  }
}

/// Fires when a stream that waits for its rate may continue.
private final class RateTimer: Handler {
  weak var session: ClientSession?
  private let timer: TimerWatcher
  private(set) var isSet = false

  init(on reactor: Reactor) {
    timer = TimerWatcher(on: reactor)
    super.init()
    timer.belong(to: self)
  }

  /// Fires after so many seconds; nil: not at all.
  func set(_ seconds: Double?) {
    guard isSet || seconds != nil else { return }
    isSet = seconds != nil
    if let seconds { timer.start(seconds: max(0, seconds)) } else { timer.stop() }
  }

  override func timeUp() { session?.settle() }
}

/// A transport over a socket.
protocol ClientTransport: Transport {
  var number: Int32 { get }
  /// Tells the peer that nothing more is sent. What the peer sends can still be received.
  func closeSending()
}

extension PlainTransport: ClientTransport {}

extension SessionSettings {
  init(_ settings: BrokerSettings) {
    self.init(
      keepAlive: settings.keepAlive, loginSeconds: settings.timeouts.loginSeconds,
      openSeconds: settings.timeouts.openSeconds, reconnect: settings.backends.reconnect,
      reconnectSeconds: settings.timeouts.reconnectSeconds)
  }
}
