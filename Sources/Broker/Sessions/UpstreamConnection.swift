// A connection to a backend daemon on behalf of one client, from connecting to being ready.
import Glibc
import Streams

/// Opens a daemon for a client: connect, authenticate, open the URI, say who the client is. From then on
/// it only tells the relay when its socket is ready.
final class UpstreamConnection: Handler {
  /// The step whose reply is awaited, or what comes instead.
  private enum Step {
    case connecting
    case authListing
    case authPolkit
    case opening
    /// The client's names are not known yet.
    case awaitingNames
    case identifying
    case ready
    case closing
  }

  /// A daemon whose queue of connections is full is asked again after this time.
  private static let retrySeconds = 0.01

  private unowned let session: ClientSession
  let backend: Backend
  private let transport: PlainTransport
  private let address: Address
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  private var step = Step.connecting
  private let openBefore: Double
  private var serial: UInt32 = 0
  private(set) var slot = -1

  /// A socket for the daemon, not yet connected. Nil with an errno where there is none to be had.
  static func make(
    _ backend: Backend, for session: ClientSession
  ) -> Result<UpstreamConnection, RemoteError> {
    guard let address = Address.unix(backend.path) else {
      return .failure(session.broker.directory.unreachable(backend.path, ENAMETOOLONG))
    }
    let descriptor = Descriptor(socket(AF_UNIX, socketKind, 0))
    guard descriptor.number >= 0 else {
      return .failure(
        RemoteError(
          .systemError, "cannot make a socket for \(backend.daemon): \(errorText(errno))",
          int1: errno))
    }
    return .success(UpstreamConnection(backend, address, descriptor, session))
  }

  private init(
    _ backend: Backend, _ address: Address, _ descriptor: consuming Descriptor,
    _ session: ClientSession
  ) {
    self.session = session
    self.backend = backend
    self.address = address
    let reactor = session.broker.reactor
    watcher = DescriptorWatcher(descriptor.number, on: reactor)
    timer = TimerWatcher(on: reactor)
    openBefore = reactor.now + session.broker.settings.openSeconds
    transport = PlainTransport(descriptor, carriesDescriptors: true)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
  }

  deinit { watcher.watch([]) }

  /// Connects and joins the session's relay. An errno says why that is not possible.
  func start() -> Int32? {
    let connected = address.withPointer { connect(transport.number, $0, $1) } == 0
    if !connected, errno != EAGAIN { return errno }
    slot = session.relay.add(upstream: transport)
    if connected { connectedNow() } else { timer.start(seconds: UpstreamConnection.retrySeconds) }
    return nil
  }

  private func connectedNow() {
    step = .authListing
    timer.start(seconds: max(0.01, openBefore - session.broker.reactor.now))
    call(Remote.authList)
  }

  override func timeUp() {
    if step == .connecting, session.broker.reactor.now < openBefore {
      if address.withPointer({ connect(transport.number, $0, $1) }) == 0 {
        connectedNow()
      } else if errno == EAGAIN {
        return timer.start(seconds: UpstreamConnection.retrySeconds)
      } else {
        session.upstreamFailed(self, session.broker.directory.unreachable(backend.path, errno))
      }
    } else {
      session.upstreamFailed(
        self,
        RemoteError(
          .operationFailed,
          "\(backend.daemon) at \(backend.path) did not answer within "
            + "\(Int(session.broker.settings.openSeconds.rounded(.up))) s"))
    }
    session.settle()
  }

  override func ready(_ ready: Interest) {
    session.relay.upstreamReady(slot, ready)
    session.turnEnded()
  }

  /// Watches for what the relay can make use of.
  func watch() {
    if step != .connecting { watcher.watch(session.relay.upstreamInterest(slot)) }
  }

  /// The step in words, for those who look.
  var stepName: String {
    switch step {
    case .connecting: "connecting"
    case .authListing: "asking how to log in"
    case .authPolkit: "logging in by polkit"
    case .opening: "opening"
    case .awaitingNames: "waiting for the names of the client's user"
    case .identifying: "telling who the client is"
    case .ready: "open"
    case .closing: "closing"
    }
  }

  /// The relay has let go of it, or will.
  func stop() {
    watcher.watch([])
    timer.stop()
  }

  // MARK: Calls of the broker's own

  private func call(_ procedure: Int32) {
    session.relay.call(slot, serial: serial, Packets.make(header(procedure)))
  }

  private func call(_ procedure: Int32, _ body: some XDRBody) {
    session.relay.call(slot, serial: serial, Packets.make(header(procedure), body))
  }

  private func header(_ procedure: Int32) -> PacketHeader {
    PacketHeader(procedure: procedure, kind: .call, serial: serial)
  }

  /// The daemon's answer to the step under way.
  func answered(_ reply: PacketHeader, _ body: [UInt8]) {
    if reply.status != .ok { return refused(reply, body) }
    serial &+= 1
    switch step {
    case .authListing:
      let types = body.withUnsafeBytes { (try? AuthListResult(payload: $0))?.types } ?? []
      switch types.first {
      case AuthListResult.none, nil: open()
      case AuthListResult.polkit:
        step = .authPolkit
        call(Remote.authPolkit)
      default:
        session.upstreamFailed(
          self,
          RemoteError(
            .authenticationUnavailable,
            "\(backend.daemon) asks for SASL, which a broker cannot answer for its client"))
      }
    case .authPolkit: open()
    case .opening:
      step = .awaitingNames
      namesKnown()
    case .identifying: opened()
    case .closing: session.upstreamClosed(self)
    case .connecting, .awaitingNames, .ready: break
    }
  }

  /// Tells the daemon who the client is, once it is its turn and all of it is known.
  func namesKnown() {
    guard step == .awaitingNames, session.identity.isComplete else { return }
    step = .identifying
    call(Remote.connectSetIdentity, SetIdentityArguments(parameters: session.identity.parameters))
  }

  private func open() {
    step = .opening
    call(
      Remote.connectOpen,
      ConnectOpenArguments(
        name: backend.uri, flags: session.isReadOnly ? ConnectOpenArguments.readOnly : 0))
  }

  private func opened() {
    step = .ready
    timer.stop()
    session.relay.upstreamIsOpen(slot)
    session.upstreamOpened(self)
  }

  private func refused(_ reply: PacketHeader, _ body: [UInt8]) {
    let error =
      body.withUnsafeBytes { try? RemoteError(payload: $0) }
      ?? RemoteError(.rpc, "\(backend.daemon) refused procedure \(reply.procedure)")
    switch step {
    case .authListing where error.code == .noSupport || error.code == .rpc:
      // A daemon from before authentication existed.
      serial &+= 1
      open()
    case .identifying where error.code == .noSupport || isUnknownProcedure(error):
      // Drivers without access control of their own, and daemons before 5.8, have no use for it.
      serial &+= 1
      opened()
    case .closing: session.upstreamClosed(self)
    default: session.upstreamFailed(self, error)
    }
  }

  private func isUnknownProcedure(_ error: RemoteError) -> Bool {
    error.code == .rpc && (error.message ?? "").hasPrefix("unknown procedure")
  }

  /// Asks the daemon to close, behind everything the client has sent it.
  func close(serial: UInt32) {
    guard step == .ready else { return session.upstreamClosed(self) }
    step = .closing
    session.relay.call(
      slot, serial: serial,
      Packets.make(PacketHeader(procedure: Remote.connectClose, kind: .call, serial: serial)),
      behindClient: true)
  }
}
