// Carrying out what admission decides: connections come in, wait, or make room for others.
import Glibc
import Streams

/// A connection that is accepted and not a client yet.
protocol PendingConnection: AnyObject {
  var listener: Listener { get }
  var origin: Origin { get }
  /// The number of the client it becomes.
  var clientID: UInt64? { get set }
  var number: Int32 { get }
  /// It has a place.
  func admitted()
  /// It has to go, for this reason.
  func dropped(_ why: String)
  /// The peer has closed the connection.
  func hungUp()
}

/// A connection without TLS from when it is accepted until it has a place. Nothing is read from it.
final class PlainPendingConnection: PendingConnection {
  private unowned let broker: Broker
  let listener: Listener
  var clientID: UInt64?
  let origin: Origin
  private let address: Address?
  private let transport: PlainTransport
  var number: Int32 { transport.number }

  init(
    _ transport: PlainTransport, from address: Address?, _ origin: Origin, on listener: Listener,
    broker: Broker
  ) {
    self.transport = transport
    self.address = address
    self.origin = origin
    self.listener = listener
    self.broker = broker
  }

  func admitted() {
    guard let clientID else { return }
    broker.pendingConnections[clientID] = nil
    broker.admit(transport, from: address, origin, on: listener, id: clientID)
  }

  func dropped(_ why: String) { end(why) }
  func hungUp() { end("it left before there was room for it") }

  private func end(_ why: String) {
    broker.log[.client].debug("a connection to \(listener.name) from \(origin) ends: \(why)")
    broker.pendingConnectionEnded(self)
  }
}

extension Origin {
  /// The user at the other end of a UNIX socket.
  init(ofUserAt descriptor: Int32) {
    self = UnixPeer.user(of: descriptor).map { .user($0) } ?? .unknown
  }

  /// The host that a connection over a network comes from.
  init(of address: Address?) {
    self = address?.host.map { Origin(host: $0) } ?? .unknown
  }
}

extension Broker {
  /// Connections that may wait for a place: as many as would in the backlog of a listener, as far as there are
  /// descriptors for them.
  static func mostWaiting(_ limits: LimitSettings) -> Int {
    min(max(30, limits.maxQueuedClients), descriptorLimit() / 8)
  }

  /// A connection asks for a place.
  func arrived(_ pending: any PendingConnection) {
    let id = nextClientID()
    pending.clientID = id
    pendingConnections[id] = pending
    let listener = pending.listener
    perform(
      admission.arrived(
        id, from: pending.origin, at: listener.gate,
        mustLogIn: listener.settings.authentication != .none,
        now: reactor.now))
    if admission.waitingCount > 0, !isHangUpLookDue { startHangUpLooks() }
  }

  /// It is over before it became a client.
  func pendingConnectionEnded(_ pending: any PendingConnection) {
    guard let id = pending.clientID, pendingConnections.removeValue(forKey: id) != nil else {
      return
    }
    guard !isStopping else { return }
    perform(admission.gone(id, now: reactor.now))
  }

  /// A client that had to has proved who it is.
  func authenticated(_ session: ClientSession) {
    perform(admission.authenticated(session.id, now: reactor.now))
  }

  /// More connections may have a place, or fewer. A client that is there already stays.
  func limitsChanged() {
    admission.mostClients = settings.limits.maxClients
    admission.mostUnauthenticated = settings.limits.maxAnonymousClients
    admission.mostWaiting = Broker.mostWaiting(settings.limits)
    memoryLimitChanged()
    lookForPlaces()
  }

  func lookForPlaces() {
    guard !isStopping else { return }
    perform(admission.fill(at: reactor.now))
  }

  func perform(_ actions: [Admission.Action]) {
    for action in actions where !isStopping {
      switch action {
      case .admit(let id): pendingConnections[id]?.admitted()
      case .drop(let id): drop(id)
      }
    }
    if let time = admission.nextLook {
      admissionAlarm.start(seconds: max(0.01, time - reactor.now))
    }
  }

  private func drop(_ id: UInt64) {
    let why = "another client needed its place (max_anonymous_clients)"
    let pending = pendingConnections[id]
    if reactor.now - displacedLoggedAt > 60,
      let who = pending?.origin ?? sessions[id]?.origin
    {
      displacedLoggedAt = reactor.now
      log.warning(
        "\(who) has the most connections that have not authenticated: the oldest of them end, "
          + "so that others can connect (max_anonymous_clients)")
    }
    if let pending {
      pending.dropped(why)
    } else {
      sessions[id]?.finish(because: why)
    }
  }
}
