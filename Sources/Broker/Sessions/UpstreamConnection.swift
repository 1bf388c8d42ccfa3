// A connection to a backend daemon on behalf of one client.
import Glibc
import Streams

/// Makes a connection to a daemon: over its socket, through a program, or over the network. After that it only reports
/// to the session when its socket is ready.
final class UpstreamConnection: Handler {
  /// Bytes of the send buffer of a daemon's socket. With the kernel's default of 208 KiB the broker waits for the daemon
  /// too often: in C prototypes, relay and ends on a processor each, uploads had 1.1 to 1.27 times the rate with this
  /// size, and 0.7 of the processor time. The kernel doubles the value, for its own overhead.
  private static let sendBuffer: Int32 = 512 << 10
  /// Delay before the next attempt to connect to a daemon whose backlog is full.
  private static let retrySeconds = 0.01

  unowned let session: ClientSession
  /// The session's number for it.
  let id: Int
  let backend: Backend
  /// Nil until the connection exists.
  private var transport: (any ClientTransport)?
  private var watcher: DescriptorWatcher?
  /// The address of a daemon on this host.
  private let address: Address?
  /// Makes the connection to another host, until it exists.
  private var connector: HostConnector?
  /// The program that the connection goes through.
  private let process: HelperProcess?
  /// The broker's login at a host that may require SASL.
  var login: UpstreamLogin?
  /// Fires when it is time to try again, until the connection is made.
  private let timer: TimerWatcher
  private var isConnected = false
  private(set) var slot = -1

  /// Creates the connection: a socket for the daemon, not yet connected, or another transport. Fails with the reason.
  static func make(
    _ backend: Backend, _ id: Int, for session: ClientSession
  ) -> Result<UpstreamConnection, RemoteError> {
    switch backend.remote?.way {
    case nil: return make(backend, id, at: backend.path, for: session)
    case .socket(let path): return make(backend, id, at: path, for: session)
    case .network: return .success(UpstreamConnection(backend, id, session))
    case .command(let arguments):
      return HelperProcess.start(
        arguments, name: backend.path, for: session.origin,
        children: session.broker.backends.children
      ).map { UpstreamConnection(backend, id, session, through: $0) }
    }
  }

  private static func make(
    _ backend: Backend, _ id: Int, at path: String, for session: ClientSession
  ) -> Result<UpstreamConnection, RemoteError> {
    guard let address = Address.unix(path) else {
      return .failure(session.broker.backends.directory.unreachable(backend.path, ENAMETOOLONG))
    }
    let descriptor = Descriptor(socket(AF_UNIX, socketKind, 0))
    guard descriptor.number >= 0 else {
      return .failure(
        RemoteError(
          .systemError, .cannotCreateSocket, [backend.daemon, errorText(errno)], int1: errno))
    }
    // SO_SNDBUFFORCE may exceed net.core.wmem_max, but needs a privilege.
    if !setOption(descriptor.number, SOL_SOCKET, SO_SNDBUFFORCE, sendBuffer) {
      setOption(descriptor.number, SOL_SOCKET, SO_SNDBUF, sendBuffer)
    }
    let upstream = UpstreamConnection(backend, id, session, at: address)
    upstream.use(
      PlainTransport(
        descriptor, carriesDescriptors: true, foreign: session.foreign,
        pipes: session.broker.loop.pipes))
    return .success(upstream)
  }

  private init(
    _ backend: Backend, _ id: Int, _ session: ClientSession, at address: Address? = nil,
    through process: HelperProcess? = nil
  ) {
    self.session = session
    self.id = id
    self.backend = backend
    self.address = address
    self.process = process
    timer = TimerWatcher(on: session.broker.reactor)
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

  // MARK: Connecting

  /// Connects and joins the session's relay at once. For another host it joins only after that host's answer; until
  /// then nothing of the client is passed on. Returns the errno of a failure.
  func start() -> Int32? {
    guard let transport else {
      report(.located(UpstreamTarget(backend)))
      startConnector()
      return nil
    }
    let connected = process != nil || connects(transport)
    let number = errno
    guard connected || number == EAGAIN || mayStart(number) else { return number }
    report(.located(UpstreamTarget(backend)))
    attach(transport)
    if connected { connectedNow() } else { timer.start(seconds: UpstreamConnection.retrySeconds) }
    return nil
  }

  private func report(_ event: UpstreamEvent) { session.post(.upstream(id, event)) }

  private func attach(_ transport: any ClientTransport) {
    slot = session.driver.attach(id, layer(over: transport), at: session.broker.reactor.now)
  }

  /// Whether the daemon does not run and the broker can start it.
  private func mayStart(_ number: Int32) -> Bool {
    backend.program != nil && (number == ENOENT || number == ECONNREFUSED)
  }

  /// If it returns false, errno has the reason.
  private func connects(_ transport: any ClientTransport) -> Bool {
    address?.withPointer { connect(transport.number, $0, $1) } == 0
  }

  private func startConnector() {
    guard let remote = backend.remote, case .network(let tls) = remote.way else { return }
    let broker = session.broker
    let connector = HostConnector(
      remote, tls: tls, openBefore: broker.reactor.now + broker.settings.timeouts.openSeconds,
      loop: broker.loop, forwarding: broker.backends.forwarding
    ) { [unowned self] in connectorEnded($0) }
    self.connector = connector
    connector.begin()
  }

  private func connectorEnded(_ result: Result<any ClientTransport, RemoteError>) {
    connector = nil
    switch result {
    case .failure(let error): report(.failed(error))
    case .success(let transport):
      use(transport)
      attach(transport)
      connectedNow()
    }
  }

  /// The transport for the relay: the transport itself, unless it may get a security layer.
  private func layer(over transport: any ClientTransport) -> any Transport {
    guard let remote = backend.remote, let file = remote.authFile else { return transport }
    let login = UpstreamLogin(
      over: transport, host: remote.host, path: backend.path, authFile: file, for: self)
    self.login = login
    return login.transport
  }

  private func connectedNow() {
    isConnected = true
    report(.connected)
  }

  override func timeUp() {
    guard !isConnected, let transport else { return }
    if connects(transport) { return connectedNow() }
    let number = errno
    if number == EAGAIN { return timer.start(seconds: UpstreamConnection.retrySeconds) }
    guard let program = backend.program, mayStart(number) else {
      return report(.failed(session.broker.backends.directory.unreachable(backend.path, number)))
    }
    switch session.broker.backends.starter.start(
      backend.daemon, program: program, socket: backend.path)
    {
    case .wait: timer.start(seconds: UpstreamConnection.retrySeconds)
    case .failed(let why): report(.failed(RemoteError(.internalError, why)))
    }
  }

  // MARK: Turns

  override func ready(_ ready: Interest) {
    // Each use of an unowned reference is counted.
    let session = session
    let relay = session.relay
    let before = relay.moved(by: slot)
    session.driver.upstreamReady(slot, ready, at: session.now)
    noteMoved(relay.moved(by: slot) &- before)
  }

  /// Watches for the events that the relay can handle.
  func watch(_ relay: Relay) {
    guard isConnected else { return }
    let interest = relay.upstreamInterest(slot)
    watcher?.watch(interest)
    // No descriptor announces data that has been read and decrypted already.
    if interest.contains(.read), transport?.holdsBytes == true {
      session.broker.reactor.continueSoon(self)
    }
  }

  override func again() {
    guard watcher?.interest.contains(.read) == true else { return }
    ready(.read)
  }

  /// Why the connection failed, if more is known than the errno.
  var error: Message? { transport?.error }

  /// Executes a step of the broker's own login.
  func perform(_ step: UpstreamSASLStep) {
    guard let login else { return report(.sasl(.failed(Message(.upstreamLoginNotConfigured)))) }
    login.perform(step)
  }

  func saslAnswered(_ answer: UpstreamSASLAnswer) { report(.sasl(answer)) }

  /// The session has removed it.
  func stop() {
    watcher?.watch([])
    timer.stop()
    connector?.stop()
    connector = nil
    login?.stop()
    process?.end()
  }
}

extension UpstreamTarget {
  init(_ backend: Backend) {
    self.init(
      daemon: backend.daemon, path: backend.path, uri: backend.uri, servesAll: backend.servesAll,
      isRemote: backend.remote != nil, marks: backend.remote?.marks ?? [],
      hasCredentials: backend.remote?.authFile != nil)
  }
}
