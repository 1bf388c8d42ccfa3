// One client: its relay, its upstream connections, and its way in and out.
import Glibc
import Streams

/// A connected client. Lives from accept until its connection is over; then the broker lets go of it at
/// the end of the turn.
final class ClientSession: Handler {
  /// Where the client is in its life.
  enum Phase: Equatable {
    /// No CONNECT_OPEN has succeeded yet.
    case connected
    /// CONNECT_OPEN is under way; its serial.
    case opening(UInt32)
    case open
    /// CONNECT_CLOSE is under way; its serial.
    case closing(UInt32)
    /// The reply to CONNECT_CLOSE goes out, then the connection ends.
    case leaving
    /// The connection to the backend that the client opened is lost. The queued packets go out, then the connection
    /// ends.
    case lost
    case over
  }

  unowned let broker: Broker
  /// Counts up from 1 and is never used again.
  let id: UInt64
  /// How the log calls it.
  let name: String
  let isReadOnlyListener: Bool
  /// What the client counts for in the budgets that all share.
  let origin: Origin
  /// In seconds since 1970.
  let connectedAt = Int64(time(nil))
  /// The same on the reactor's clock.
  let beganAt: Double
  /// Who the client is, as the kernel and its login vouch for it, for the backend to check and to log.
  var identity = ProvenIdentity() {
    didSet {
      auditFields = nil
      logClient.identity = identity.subject
    }
  }
  private let logClient: LogClient
  /// The log, for lines about this client.
  var log: BrokerLog { broker.log.about(logClient) }
  /// Who it is, as audit records say it, once one has said it.
  var auditFields: [UInt8]?
  let audit: AuditLog?
  var login: Login
  /// What TLS has verified of the client; nil: it did not come that way.
  let tlsPeer: TLSPeer?
  let transport: any ClientTransport
  private var watcher: DescriptorWatcher
  let timer: TimerWatcher
  /// Counts the segments that hold what came from the client or waits for it.
  let pool: SegmentPool
  /// Bytes of these as they were counted last.
  var heldBytes = 0
  private var madeRelay: Relay?
  var phase = Phase.connected
  /// Read-only by its listener or by the flag it opened with.
  var isReadOnly: Bool
  var upstreams: [UpstreamConnection] = []
  /// The daemon the client opened, also after it has died.
  var main: Backend?
  /// This side of the connection is closed. The session ends when the client closes the other side.
  private var isHalfClosed = false
  var liveness = Liveness()
  /// When it came, on the reactor's clock, and from where: nil for a UNIX socket.
  let cameAt: Double
  /// "unix", "tcp" or "tls".
  let transportName: String
  let address: String?
  /// What accepting it has said of the other end.
  private let peerAddress: Address?
  /// Rings when a stream that waits for its rate may go on.
  private lazy var rateAlarm = Alarm(on: broker.reactor) { [unowned self] in settle() }
  private var isRateAlarmSet = false
  /// Bytes the kernel is to hold at most of what the client has sent; 0: as many as it thinks right.
  var mostHeldByKernel: Int32 = 0

  init(
    _ transport: any ClientTransport, from peerAddress: Address?, _ origin: Origin,
    on listener: Listener, id: UInt64,
    broker: Broker
  ) {
    self.broker = broker
    self.origin = origin
    pool = SegmentPool(sharing: broker.pool)
    audit = broker.audit
    self.id = id
    logClient = LogClient(id: id)
    self.peerAddress = peerAddress
    beganAt = broker.reactor.now
    self.transport = transport
    isReadOnlyListener = listener.settings.isReadOnly
    isReadOnly = isReadOnlyListener
    tlsPeer = (transport as? TLSTransport)?.peer
    // In an initialiser no observer runs.
    identity.peer = listener.settings.isUNIX ? UnixPeer(of: transport.number) : nil
    identity.distinguishedName = tlsPeer?.distinguishedName
    logClient.identity = identity.subject
    login = Login(at: listener, transport.number, from: peerAddress)
    if let tlsPeer { login.connection.cover = .tls(bits: UInt32(clamping: tlsPeer.keyBits)) }
    cameAt = broker.reactor.now
    transportName = listener.settings.isUNIX ? "unix" : listener.settings.isTLS ? "tls" : "tcp"
    if let peer = identity.peer {
      address = nil
      name = "client \(id) (UNIX, pid \(peer.pid), uid \(peer.uid))"
    } else {
      let address = peerAddress?.text ?? "unknown address"
      self.address = address
      let certificate = tlsPeer?.distinguishedName.map { ", \($0)" } ?? ""
      name = "client \(id) (\(address)\(tlsPeer == nil ? "" : ", TLS")\(certificate))"
    }
    watcher = DescriptorWatcher(transport.number, on: broker.reactor)
    timer = TimerWatcher(on: broker.reactor)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    madeRelay = Relay(
      client: login.layer(over: transport), owner: self, pool: pool,
      maxRequests: broker.settings.limits.maxClientRequests, marks: broker.marks)
    watcher.watch(relay.clientInterest)
  }

  deinit { watcher.watch([]) }

  /// Closes the descriptors that the client passes, and those its daemons pass back.
  var foreign: ForeignDescriptors { ForeignDescriptors(closer: broker.closer, origin: origin) }

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

  /// Made right after the session itself, whose relay needs to know it.
  var relay: Relay {
    guard let madeRelay else {
      preconditionFailure("a session has its relay from its first moment")
    }
    return madeRelay
  }

  /// Of a client that came over a network: `127.0.0.1:58434`.
  var remoteAddress: String? { peerAddress.flatMap { $0.text.isEmpty ? nil : $0.text } }

  // MARK: Turns

  override func ready(_ ready: Interest) {
    relay.now = broker.reactor.now
    if ready.contains(.read) { liveness.heardAt = relay.now }
    relay.clientReady(ready)
    turnEnded()
  }

  override func again() {
    guard phase != .over, relay.clientInterest.contains(.read) else { return }
    ready(.read)
  }

  /// Moves what can move after a change that did not come from a socket.
  func settle() {
    relay.now = broker.reactor.now
    relay.settle()
    turnEnded()
  }

  /// Ends the session if it is over, else watches for what its state can make use of.
  func turnEnded() {
    guard phase != .over else { return }
    if let end = relay.clientEnd { return finish(because: reason(end), level(of: end)) }
    if phase == .leaving, relay.waitingForClient == 0 {
      return finish(because: "closed by the client")
    }
    if phase == .lost, relay.waitingForClient == 0, !isHalfClosed {
      // Closing the socket with unread bytes of the client would discard what the client has not received.
      isHalfClosed = true
      transport.closeSending()
    }
    if broker.isStopping, isIdle { return finish(because: "the broker stops") }
    let interest = relay.clientInterest
    watcher.watch(interest)
    if !interest.contains(.read) {
      if !broker.isHangUpLookDue { broker.startHangUpLooks() }
    } else if transport.holdsBytes {
      // What has been read and decrypted already is announced by no descriptor.
      broker.reactor.goOn(self)
    }
    for upstream in upstreams { upstream.watch() }
    if !broker.isSweepDue, relay.awaitedCount > 0 { broker.startSweeps() }
    watchRates()
    countMemory()
  }

  private func watchRates() {
    guard isRateAlarmSet || mostHeldByKernel > 0 || relay.hasMeteredStreams else { return }
    if let time = relay.nextMeteredTime {
      isRateAlarmSet = true
      rateAlarm.start(seconds: max(0, time - broker.reactor.now))
    } else if isRateAlarmSet {
      isRateAlarmSet = false
      rateAlarm.stop()
    }
    if mostHeldByKernel > 0, !relay.hasMeteredStreams { widen() }
  }

  /// Its socket is not watched for anything to read, so the loop does not notice that the client is gone.
  var isNotRead: Bool { phase != .over && !watcher.interest.contains(.read) }

  /// Nothing is under way: no call awaits its reply, nothing waits to be sent.
  var isIdle: Bool {
    switch phase {
    case .opening, .closing: false
    default: relay.awaitedCount == 0 && relay.waitingForClient == 0
    }
  }

  private func reason(_ end: LinkEnd) -> String {
    switch end {
    case .closed where phase == .lost, .failed where phase == .lost:
      "the connection to its backend is lost"
    case .closed: "closed by the client"
    case .failed(let number): transport.trouble ?? errorText(number)
    case .violation(let violation): "protocol violation: \(violation)"
    case .brokenOff: "a packet broke off with its backend"
    }
  }

  /// A peer that broke a rule is worth an administrator's attention; one that left is not.
  private func level(of end: LinkEnd) -> BrokerLog.Level {
    switch end {
    case .closed, .failed: .info
    case .violation, .brokenOff: .warning
    }
  }

  /// Ends the connection at once, with everything that hangs on it.
  func finish(because reason: String, _ level: BrokerLog.Level = .info) {
    guard phase != .over else { return }
    phase = .over
    timer.stop()
    if isRateAlarmSet { rateAlarm.stop() }
    watcher.watch([])
    for upstream in upstreams {
      upstream.stop()
      broker.reactor.depart(upstream)
    }
    upstreams = []
    relay.now = broker.reactor.now
    relay.clear()
    countMemory()
    recordClosed(reason)
    endLogin()
    broker.departed(self, because: reason, level)
  }

  // MARK: Upstreams

  /// The upstream went through its opening.
  func upstreamOpened(_ upstream: UpstreamConnection) {
    broker.tally.upstreamsOpened &+= 1
    log[.upstream].line(
      upstream.backend.remote == nil ? .debug : .info,
      "\(name): \(upstream.backend.daemon) at \(upstream.backend.path) opened "
        + "'\(upstream.backend.uri)'")
    guard case .opening(let serial) = phase, upstream.backend == main else { return }
    phase = .open
    relay.isOpen = true
    relay.isHeld = broker.isStopping
    relay.reply(
      Packets.reply(
        answering: PacketHeader(procedure: Remote.connectOpen, kind: .call, serial: serial)))
  }

  /// The upstream could not be opened: whoever waits for it hears why, as soon as the relay settles.
  func upstreamFailed(_ upstream: UpstreamConnection, _ error: RemoteError) {
    log[.upstream].warning(
      "\(name): cannot open '\(upstream.backend.uri)' at \(upstream.backend.path): "
        + (error.message ?? "no reason given"))
    broker.tally.upstreamFailures &+= 1
    lose(upstream, error)
  }

  /// The upstream has closed in good order, or was not open: on with the next, if it was its turn.
  func upstreamClosed(_ upstream: UpstreamConnection) {
    let wasNext = upstreams.first === upstream
    lose(upstream, RemoteError(.internalError, "client socket is closed"))
    if wasNext { closeNext() }
  }

  private func lose(_ upstream: UpstreamConnection, _ error: RemoteError, closedEvent: Bool = false)
  {
    upstream.stop()
    // In this order: the reference given up here may be the last but the reactor's.
    broker.reactor.depart(upstream)
    upstreams.removeAll { $0 === upstream }
    // One that is on its way has no place in the relay yet.
    if upstream.slot >= 0 {
      relay.remove(upstream: upstream.slot, telling: error, closedEvent: closedEvent)
    }
    if case .opening(let serial) = phase, upstream.backend == main {
      phase = .connected
      main = nil
      relay.isHeld = broker.isStopping
      relay.reply(
        Packets.error(
          answering: PacketHeader(procedure: Remote.connectOpen, kind: .call, serial: serial), error
        ))
    }
  }

  /// Connects to a daemon. The upstream's slot, once it has one, or why there is none.
  func connect(_ backend: Backend) -> Result<Int, RemoteError> {
    switch UpstreamConnection.make(backend, for: self) {
    case .failure(let error): return .failure(error)
    case .success(let upstream):
      if let number = upstream.start() {
        broker.tally.upstreamFailures &+= 1
        return .failure(broker.directory.unreachable(backend.path, number))
      }
      upstreams.append(upstream)
      return .success(upstream.slot)
    }
  }

  // MARK: Closing

  /// Closes the upstreams in order, each behind what the client sent it, then answers and leaves.
  func close(serial: UInt32) {
    phase = .closing(serial)
    relay.isHeld = true
    timer.start(seconds: ClientSession.closeSeconds)
    closeNext()
  }

  /// How long daemons may take to close before the client is answered anyway.
  static let closeSeconds = 5.0

  func closeNext() {
    guard case .closing(let serial) = phase else { return }
    if let upstream = upstreams.first { return upstream.close(serial: serial) }
    phase = .leaving
    relay.reply(
      Packets.reply(
        answering: PacketHeader(procedure: Remote.connectClose, kind: .call, serial: serial)))
  }

  override func timeUp() {
    switch phase {
    case .closing:
      for upstream in upstreams {
        log[.upstream].warning(
          "\(name): \(upstream.backend.daemon) did not confirm the close")
        lose(upstream, RemoteError(.internalError, "client socket is closed"))
      }
      closeNext()
      // A client that does not even read the reply is not waited for any longer.
      timer.start(seconds: ClientSession.closeSeconds)
      settle()
    case .leaving: finish(because: "closed by the client, which did not read the reply")
    case .lost:
      // A slow client gets everything that is queued for it, as long as it reads.
      guard !isHalfClosed, relay.sentToClient != liveness.sentBefore else {
        return finish(because: "the connection to its backend is lost")
      }
      liveness.sentBefore = relay.sentToClient
      timer.start(seconds: ClientSession.closeSeconds)
    default:
      if login.isDone, login.refusal == nil { checkLiveness() } else { loginTimeUp() }
    }
  }
}

/// A transport over a socket, as clients come in.
protocol ClientTransport: Transport {
  var number: Int32 { get }
  /// Tells the peer that nothing more is sent. What the peer sends can still be received.
  func closeSending()
}

extension PlainTransport: ClientTransport {}

extension ClientSession: RelayOwner {
  func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8]) {
    upstreams.first { $0.slot == slot }?.answered(reply, body)
  }

  func upstream(_ slot: Int, ended reason: LinkEnd) {
    guard let upstream = upstreams.first(where: { $0.slot == slot }) else {
      return relay.remove(
        upstream: slot, telling: RemoteError(.internalError, "client socket is closed"))
    }
    let words: String
    switch reason {
    case .closed, .brokenOff: words = "End of file while reading data: \(errorText(EIO))"
    case .failed(let number): words = "Cannot read data: \(upstream.trouble ?? errorText(number))"
    case .violation(let violation): words = "protocol violation: \(violation)"
    }
    let daemon = "\(upstream.backend.daemon) at \(upstream.backend.path)"
    if case .closing = phase { return upstreamClosed(upstream) }
    log[.upstream].warning("\(name): connection to \(daemon) lost: \(words)")
    broker.tally.upstreamDeaths &+= 1
    let isMain = upstream.backend == main
    let error = RemoteError(.systemError, "connection to \(daemon) lost: \(words)", int1: EIO)
    lose(upstream, error, closedEvent: isMain)
    if isMain, phase == .open { endSession(because: error) }
  }

  /// The backend that the client opened never comes back for it. A client that asks its library whether the
  /// connection is alive must see what it would see without the broker: a closed connection.
  private func endSession(because error: RemoteError) {
    for upstream in upstreams { lose(upstream, error) }
    phase = .lost
    relay.discardClient()
    liveness.sentBefore = relay.sentToClient
    timer.start(seconds: ClientSession.closeSeconds)
  }

  func route(to driver: Driver) -> Result<Route, RemoteError> {
    guard let main else {
      return .failure(RemoteError(.internalError, "hypervisor connection not open"))
    }
    if let own = broker.directory.backend(for: driver, beside: main, readOnly: isReadOnly) {
      switch connect(own) {
      case .success(let slot): return .success(Route(slot: slot, isLasting: true))
      case .failure(let error):
        // A socket left behind by a daemon that is gone: as if it were not there.
        log[.upstream].info("\(name): \(own.daemon) is absent: \(error.message ?? "")")
      }
    }
    guard let upstream = upstreams.first(where: { $0.backend == main }) else {
      return .failure(
        RemoteError(.internalError, "client socket is closed"))
    }
    // Beside a modular daemon, the driver's own may yet come.
    let isFinal = main.servesAll || driver == .hypervisor || driver == .proxy
    return .success(Route(slot: upstream.slot, isLasting: isFinal))
  }
}
