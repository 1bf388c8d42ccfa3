// One client: its connection, its upstream connections, and the state machine that decides about them.
import Glibc
import Streams

/// A connected client, from when it has a place until its connection is over; the broker releases it at the end of that
/// turn. What happens next is decided by `Session`; this class does it.
final class ClientSession: Handler {
  unowned let broker: Broker
  let source: ClientSource
  private let logClient: LogClient
  let transport: any ClientTransport
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  /// Counts the segments that hold what came from the client or waits for it.
  let pool: SegmentPool
  /// Bytes of these as they were counted last.
  var heldBytes = 0
  private var madeDriver: SessionDriver?
  var login: ClientLogin
  var upstreams: [UpstreamConnection] = []
  let audit: AuditLog?
  /// Who it is, as audit records say it, once one has said it.
  var auditFields: [UInt8]?
  /// Wakes a stream that waits for its rate.
  private let rateTimer: RateTimer
  /// Bytes the kernel is to hold at most of what the client has sent; 0: as many as it thinks right.
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
        isReadOnly: listener.settings.isReadOnly, mark: broker.backends.forwarding.mark),
      SessionSettings(broker.settings), at: now)
    madeDriver = SessionDriver(
      session, host: self, client: login.layer(over: transport), pool: pool,
      maxRequests: broker.settings.limits.maxClientRequests,
      watermarks: Watermarks(broker.settings.limits))
    watcher.watch(relay.clientInterest)
    deadlineChanged(to: session.deadline)
  }

  deinit { watcher.watch([]) }

  /// Made right after the session itself, which is its host.
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
  /// Closes the descriptors that the client passes, and those its daemons pass back.
  var foreign: ForeignDescriptors { ForeignDescriptors(closer: broker.loop.closer, origin: origin) }

  /// Sets what every connection over a network wants.
  static func tune(_ descriptor: Int32) {
    // A host that vanishes is noticed by the kernel within a minute, also where the peer speaks no keepalive or
    // could not be heard because it is not read.
    setOption(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    // What waits in the kernel delays whatever comes behind it, a console's echo for one.
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, 128 * 1024)
  }

  // MARK: Turns

  override func ready(_ ready: Interest) { driver.clientReady(ready, at: broker.reactor.now) }

  override func again() {
    guard !isOver, relay.clientInterest.contains(.read) else { return }
    ready(.read)
  }

  override func timeUp() { post(.time) }

  /// Moves what can move after a change that did not come from a socket.
  func settle() {
    guard !isOver else { return }
    driver.settle(at: broker.reactor.now)
  }

  /// Something has happened to the session.
  func post(_ event: SessionEvent) { driver.post(event, at: broker.reactor.now) }

  /// Ends the connection at once, with everything that belongs to it. The reason's severity is that of the log line.
  func finish(because reason: Message) { post(.end(reason)) }

  /// Writes a message behind the client's name.
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

  /// Watches for what the session's state can make use of.
  func turnEnded() {
    let interest = relay.clientInterest
    watcher.watch(interest)
    if !interest.contains(.read) {
      broker.sessions.hangUps.start()
    } else if transport.holdsBytes {
      // What has been read and decrypted already is announced by no descriptor.
      broker.reactor.continueSoon(self)
    }
    for upstream in upstreams { upstream.watch() }
    if relay.awaitedCount > 0 { broker.sessions.slowCalls.start() }
    watchRates()
    countMemory()
  }

  private func watchRates() {
    guard rateTimer.isSet || mostHeldByKernel > 0 || relay.hasMeteredStreams else { return }
    rateTimer.set(relay.nextMeteredTime.map { $0 - broker.reactor.now })
    if mostHeldByKernel > 0, !relay.hasMeteredStreams { widen() }
  }

  /// Its socket is not watched for anything to read, so the loop does not notice that the client is gone.
  var isNotRead: Bool { !isOver && !watcher.interest.contains(.read) }

  // MARK: The end

  /// Stops everything. To be called once, when the session is over.
  func close(because reason: Message) {
    timer.stop()
    rateTimer.set(nil)
    watcher.watch([])
    for upstream in upstreams { release(upstream) }
    upstreams = []
    driver.clear(at: broker.reactor.now)
    countMemory()
    recordClosed(reason.text)
    endLogin()
    broker.closed(self, because: reason)
  }

  func release(_ upstream: UpstreamConnection) {
    upstream.stop()
    // The reference that the session gives up may be the last but this one.
    broker.reactor.releaseAfterTurn(upstream)
  }

  /// More has become known of who the client is.
  func identityChanged() {
    auditFields = nil
    logClient.identity = identity.subject
  }
}

/// Rings when a stream that waits for its rate may proceed.
private final class RateTimer: Handler {
  weak var session: ClientSession?
  private let timer: TimerWatcher
  private(set) var isSet = false

  init(on reactor: Reactor) {
    timer = TimerWatcher(on: reactor)
    super.init()
    timer.belong(to: self)
  }

  /// Rings after so many seconds; nil: not at all.
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
      openSeconds: settings.timeouts.openSeconds)
  }
}
