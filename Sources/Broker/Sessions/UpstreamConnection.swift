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
    case saslListing
    case saslTalking
    case opening
    /// Another host is asked whether it is this broker, or one before it.
    case recognising
    /// The client's names are not known yet.
    case awaitingNames
    case identifying
    case ready
    case closing
  }

  /// A daemon whose queue of connections is full is asked again after this time.
  private static let retrySeconds = 0.01

  unowned let session: ClientSession
  let backend: Backend
  /// There once the connection is.
  private var transport: (any ClientTransport)?
  private var watcher: DescriptorWatcher?
  /// Of a daemon on this host.
  private let address: Address?
  /// The way to another one, until it is there.
  private var approach: Approach?
  /// The program that the connection goes through.
  private let process: HelperProcess?
  /// The connection to a host that may ask for SASL, and the conversation then.
  private(set) var layered: LayeredConnection?
  var talk: SASLTalk?
  var job: (workshop: Workshop, job: Workshop.Job)?
  /// Brokers that must not be at the other end.
  private var marks: ArraySlice<Int32>
  private let timer: TimerWatcher
  private var step = Step.connecting
  private let openBefore: Double
  private var serial: UInt32 = 0
  private(set) var slot = -1

  /// Whether descriptors can be passed to the daemon.
  var carriesDescriptors: Bool { transport?.carriesDescriptors ?? false }

  /// A socket for the daemon, not yet connected, or another way there. Or why there is none to be had.
  static func make(
    _ backend: Backend, for session: ClientSession
  ) -> Result<UpstreamConnection, RemoteError> {
    switch backend.remote?.way {
    case nil: return make(backend, at: backend.path, for: session)
    case .socket(let path): return make(backend, at: path, for: session)
    case .network: return .success(UpstreamConnection(backend, session))
    case .command(let arguments):
      return HelperProcess.start(
        arguments, name: backend.path, for: session.origin, broker: session.broker
      ).map { UpstreamConnection(backend, session, through: $0) }
    }
  }

  private static func make(
    _ backend: Backend, at path: String, for session: ClientSession
  ) -> Result<UpstreamConnection, RemoteError> {
    guard let address = Address.unix(path) else {
      return .failure(session.broker.directory.unreachable(backend.path, ENAMETOOLONG))
    }
    let descriptor = Descriptor(socket(AF_UNIX, socketKind, 0))
    guard descriptor.number >= 0 else {
      return .failure(
        RemoteError(
          .systemError, "cannot make a socket for \(backend.daemon): \(errorText(errno))",
          int1: errno))
    }
    let upstream = UpstreamConnection(backend, session, at: address)
    upstream.use(
      PlainTransport(descriptor, carriesDescriptors: true, foreign: session.foreign))
    return .success(upstream)
  }

  private init(
    _ backend: Backend, _ session: ClientSession, at address: Address? = nil,
    through process: HelperProcess? = nil
  ) {
    self.session = session
    self.backend = backend
    self.address = address
    self.process = process
    marks = backend.remote?.marks[...] ?? []
    let reactor = session.broker.reactor
    timer = TimerWatcher(on: reactor)
    openBefore = reactor.now + session.broker.settings.openSeconds
    super.init()
    timer.belong(to: self)
    if let process { use(PlainTransport(process.takeSocket(), carriesDescriptors: false)) }
  }

  deinit { watcher?.watch([]) }

  private func use(_ transport: any ClientTransport) {
    self.transport = transport
    watcher = DescriptorWatcher(transport.number, on: session.broker.reactor)
    watcher?.belong(to: self)
  }

  /// Connects and joins the session's relay: at once, but for another host, before whose answer nothing of the client
  /// is passed on. An errno says why that is not possible.
  func start() -> Int32? {
    guard let transport else {
      approachHost()
      return nil
    }
    let connected = process != nil || isConnected(transport)
    let trouble = errno
    guard connected || trouble == EAGAIN || mayStart(trouble) else { return trouble }
    slot = session.relay.add(upstream: transport)
    if connected { connectedNow() } else { timer.start(seconds: UpstreamConnection.retrySeconds) }
    return nil
  }

  /// Nobody answers, and somebody can be started who would.
  private func mayStart(_ number: Int32) -> Bool {
    backend.program != nil && (number == ENOENT || number == ECONNREFUSED)
  }

  /// Otherwise errno says why not.
  private func isConnected(_ transport: any ClientTransport) -> Bool {
    address?.withPointer { connect(transport.number, $0, $1) } == 0
  }

  private func approachHost() {
    guard let remote = backend.remote, case .network(let tls) = remote.way else { return }
    let approach = Approach(
      remote, tls: tls, openBefore: openBefore, broker: session.broker
    ) { [unowned self] in arrived($0) }
    self.approach = approach
    timer.start(seconds: max(0.01, openBefore - session.broker.reactor.now))
    approach.begin()
  }

  private func arrived(_ result: Result<any ClientTransport, RemoteError>) {
    approach = nil
    switch result {
    case .failure(let error): session.upstreamFailed(self, error)
    case .success(let transport):
      use(transport)
      slot = session.relay.add(upstream: layer(over: transport))
      connectedNow()
    }
    session.settle()
  }

  /// What the relay is to read and write: the transport itself, unless it may get a layer.
  private func layer(over transport: any ClientTransport) -> any Transport {
    guard backend.remote?.authFile != nil else { return transport }
    var surroundings = SASLConnection(
      cover: .none, local: Address.local(of: transport.number)?.saslText,
      remote: Address.peer(of: transport.number)?.saslText)
    if let peer = (transport as? TLSTransport)?.peer {
      surroundings.cover = .tls(bits: UInt32(clamping: peer.keyBits))
    }
    let layered = LayeredConnection(
      transport: SASLTransport(transport), surroundings: surroundings)
    self.layered = layered
    return layered.transport
  }

  private func connectedNow() {
    step = .authListing
    timer.start(seconds: max(0.01, openBefore - session.broker.reactor.now))
    call(Remote.authList)
  }

  override func timeUp() {
    if step == .connecting, let transport, session.broker.reactor.now < openBefore {
      if isConnected(transport) {
        connectedNow()
      } else if errno == EAGAIN {
        return timer.start(seconds: UpstreamConnection.retrySeconds)
      } else if let program = backend.program, mayStart(errno) {
        switch session.broker.starter.start(
          backend.daemon, program: program, socket: backend.path)
        {
        case .wait: return timer.start(seconds: UpstreamConnection.retrySeconds)
        case .failed(let why):
          session.upstreamFailed(self, RemoteError(.internalError, why))
        }
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
    session.relay.now = session.broker.reactor.now
    session.relay.upstreamReady(slot, ready)
    session.turnEnded()
  }

  /// Watches for what the relay can make use of.
  func watch() {
    guard step != .connecting else { return }
    let interest = session.relay.upstreamInterest(slot)
    watcher?.watch(interest)
    // What has been read and decrypted already is announced by no descriptor.
    if interest.contains(.read), transport?.holdsBytes == true { session.broker.reactor.goOn(self) }
  }

  /// The step in words, for those who look.
  var stepName: String {
    switch step {
    case .connecting: "connecting"
    case .authListing: "asking how to log in"
    case .authPolkit: "logging in by polkit"
    case .saslListing, .saslTalking: "logging in by SASL"
    case .opening: "opening"
    case .recognising: "being asked whether it is this broker"
    case .awaitingNames: "waiting for the names of the client's user"
    case .identifying: "telling who the client is"
    case .ready: "open"
    case .closing: "closing"
    }
  }

  override func again() {
    guard watcher?.interest.contains(.read) == true else { return }
    ready(.read)
  }

  /// Why the connection failed, where that is more than an errno says.
  var trouble: String? { transport?.trouble }

  /// The relay has let go of it, or will.
  func stop() {
    watcher?.watch([])
    timer.stop()
    approach?.stop()
    approach = nil
    talk = nil
    if let (workshop, job) = job { workshop.cancel(job) }
    job = nil
    process?.end()
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
      case AuthListResult.sasl where prepareSASL():
        step = .saslListing
        call(Remote.authSASLInit)
      default:
        session.upstreamFailed(
          self,
          RemoteError(
            .authenticationUnavailable,
            "\(backend.daemon) at \(backend.path) asks for SASL, which a broker cannot answer for its client"
          ))
      }
    case .authPolkit: open()
    case .saslListing:
      guard let offer = body.withUnsafeBytes({ try? SASLInitResult(payload: $0) }) else {
        return failSASL("a list of mechanisms that cannot be read")
      }
      saslProceed { $0.start(offer.mechanisms) }
    case .saslTalking: saslAnswered(body)
    case .opening where backend.remote != nil: recognise()
    case .opening:
      step = .awaitingNames
      namesKnown()
    case .recognising:
      let result = body.withUnsafeBytes { try? FeatureResult(payload: $0) }
      guard result?.supported != 1 else {
        return session.upstreamFailed(
          self,
          RemoteError(
            .configurationUnsupported,
            "opening '\(backend.path)' leads back to a broker the client came through"))
      }
      recognise()
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

  /// Asks the other host whether it is a broker that the client has come through already. Any other daemon knows no
  /// such feature.
  ///
  /// Then it is open. Who the client is is not said: user numbers of this host mean others there, so the other host
  /// knows the broker alone, as it would know any client of libvirt's on this host.
  private func recognise() {
    guard let mark = marks.popFirst() else { return opened() }
    step = .recognising
    call(Remote.connectSupportsFeature, FeatureArguments(feature: mark))
  }

  func saslStart(_ mechanism: String, _ words: [UInt8]?) {
    step = .saslTalking
    call(
      Remote.authSASLStart, SASLStartArguments(mechanism: mechanism, data: SASLData(words)))
  }

  func saslStep(_ words: [UInt8]?) { call(Remote.authSASLStep, SASLData(words)) }

  func open() {
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
    case .recognising:
      serial &+= 1
      recognise()
    case .identifying where error.code == .noSupport || isUnknownProcedure(error):
      // Drivers without access control of their own, and daemons before 5.8, have no use for it.
      serial &+= 1
      opened()
    case .saslListing, .saslTalking: failSASL(error.message ?? "refused")
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
