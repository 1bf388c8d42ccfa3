// Connecting to another host over the network: name resolution, connection, TLS.
import Glibc
import Streams

/// Connects to a host, one address after the other. If TLS is wanted, makes a session there and waits for its
/// confirmation. Reports the result once, unless stopped before.
final class HostConnector: Handler {
  typealias Completion = (Result<any ClientTransport, RemoteError>) -> Void

  private enum Phase {
    case resolving
    case connecting
    case shaking
    /// Waiting for the one byte by which the server confirms that each side has accepted the other's certificate.
    case confirming
    case over
  }

  private let loop: LoopServices
  private let forwarding: Forwarding
  private let destination: Destination
  private let tls: Destination.TLSWish?
  private let openBefore: Double
  private let timer: TimerWatcher
  private let completion: Completion
  private var phase = Phase.resolving
  private var job: BlockingPool.Job?
  private var addresses: ArraySlice<Address> = []
  private var attempt: Attempt?
  private var session: TLSSession?
  /// The step of the handshake under way. Until it is done the session belongs to a thread of the pool.
  private var step: BlockingPool.Job?
  /// Why the last address failed.
  private var lastError: RemoteError

  /// One socket and its watcher. The watcher is released before the socket.
  private final class Attempt {
    let number: Int32
    private var descriptor: Descriptor?
    private var watcher: DescriptorWatcher

    init(_ descriptor: consuming Descriptor, for handler: Handler, on reactor: Reactor) {
      number = descriptor.number
      watcher = DescriptorWatcher(descriptor.number, on: reactor)
      self.descriptor = consume descriptor
      watcher.belong(to: handler)
    }

    deinit { watcher.watch([]) }

    func watch(_ interest: Interest) { watcher.watch(interest) }
    func take() -> Descriptor { descriptor.take() ?? Descriptor(-1) }
  }

  init(
    _ destination: Destination, tls: Destination.TLSWish?, openBefore: Double, loop: LoopServices,
    forwarding: Forwarding, _ completion: @escaping Completion
  ) {
    self.destination = destination
    self.tls = tls
    self.openBefore = openBefore
    self.loop = loop
    self.forwarding = forwarding
    self.completion = completion
    lastError = RemoteError(.systemError, Message(.hostNoAddress, [destination.place]))
    timer = TimerWatcher(on: loop.reactor)
    super.init()
    timer.belong(to: self)
  }

  /// Starts connecting. The completion is never called before this returns.
  func begin() {
    let host = destination.host
    let port = String(destination.port)
    job = loop.blocking.run(
      .otherHosts,
      { () -> Result<[Address], BrokerFailure> in
        do throws(BrokerFailure) {
          return .success(try Address.resolve(host: host, port: port))
        } catch {
          return .failure(error)
        }
      },
      completion: { [weak self] result in self?.resolved(result) })
  }

  /// Ends the attempt without a report.
  func stop() {
    phase = .over
    timer.stop()
    if let job { loop.blocking.cancel(job) }
    job = nil
    if let step { loop.handshakes.cancel(step) }
    step = nil
    attempt = nil
    session = nil
  }

  private func finish(_ result: Result<any ClientTransport, RemoteError>) {
    stop()
    loop.reactor.releaseAfterTurn(self)
    completion(result)
  }

  /// Every message has the destination as its first argument, followed by `arguments`.
  private func fail(
    _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []
  ) {
    let message = Message(definition, [destination.place] + arguments)
    finish(.failure(RemoteError(.systemError, message)))
  }

  // MARK: Connecting

  private func resolved(_ result: Result<[Address], BrokerFailure>) {
    guard phase == .resolving else { return }
    job = nil
    switch result {
    case .failure(let failure): fail(.hostUnreachable, [failure.message])
    case .success(let found):
      addresses = found[...]
      phase = .connecting
      connectNext()
    }
  }

  /// The remaining addresses share the remaining time.
  private func connectNext() {
    attempt = nil
    while let address = addresses.popFirst() {
      guard !forwarding.leadsHere(address) else {
        let message = Message(.hostAddressIsThisBroker, [destination.place, address.text])
        return finish(.failure(RemoteError(.configurationUnsupported, message)))
      }
      let descriptor = Descriptor(socket(address.family, socketKind, 0))
      guard descriptor.number >= 0 else {
        note(address, errno)
        continue
      }
      let status = address.withPointer { connect(descriptor.number, $0, $1) }
      guard status == 0 || errno == EINPROGRESS else {
        note(address, errno)
        continue
      }
      let attempt = Attempt(descriptor, for: self, on: loop.reactor)
      attempt.watch(.write)
      self.attempt = attempt
      let left = openBefore - loop.reactor.now
      timer.start(seconds: max(0.01, left / Double(addresses.count + 1)))
      return
    }
    finish(.failure(lastError))
  }

  private func note(_ address: Address, _ number: Int32) {
    lastError = RemoteError(
      .systemError,
      Message(
        .hostAddressUnreachable, [destination.place, address.text, errorText(number)]),
      int1: number)
  }

  override func timeUp() {
    guard phase == .connecting, !addresses.isEmpty else { return }
    connectNext()
  }

  override func ready(_ ready: Interest) {
    switch phase {
    case .connecting: connected()
    case .shaking: shake()
    case .confirming: hearConfirmation()
    case .resolving, .over: break
    }
  }

  private func connected() {
    guard let attempt else { return }
    var number: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    if getsockopt(attempt.number, SOL_SOCKET, SO_ERROR, &number, &length) != 0 { number = errno }
    guard number == 0 else {
      lastError = RemoteError(
        .systemError, Message(.hostUnreachable, [destination.place, errorText(number)]),
        int1: number)
      return connectNext()
    }
    timer.stop()
    // This makes the kernel detect a host that vanishes. The broker sends daemons no keepalive requests, because it
    // could not see their answers while it does not read.
    ClientSession.tune(attempt.number)
    guard let tls else {
      let descriptor = attempt.take()
      self.attempt = nil
      return finish(.success(PlainTransport(descriptor, carriesDescriptors: false)))
    }
    begin(tls, attempt)
  }

  // MARK: TLS

  private func begin(_ tls: Destination.TLSWish, _ attempt: Attempt) {
    do throws(TLSCredentialsError) {
      let credentials = try forwarding.credentials(tls.settings)
      do throws(TLSError) {
        session = try TLSSession(
          connecting: attempt.take(), with: credentials, buffers: loop.handshakes.buffers)
      } catch {
        return fail(.hostTLSFailed, [error.message])
      }
    } catch {
      // Only the log gets the names of the broker's files.
      forwarding.log.write(.hostCredentialsUnusable, [destination.place, error.message])
      return fail(.hostTLSNotConfigured)
    }
    phase = .shaking
    shake()
  }

  private func shake() {
    guard let session, step == nil else { return }
    attempt?.watch([])
    let host = destination.host
    step = loop.handshakes.step(
      session, verify: { $0.verifyServer(host: host, at: TLSAcceptor.now) },
      completion: { [weak self] in self?.shaken($0) })
  }

  private func shaken(_ outcome: HandshakePool.Outcome) {
    step = nil
    guard phase == .shaking, let session else { return }
    switch outcome {
    case .blocked(let on): attempt?.watch(on)
    case .failed(let error): fail(.hostHandshakeFailed, [error])
    case .done(let check):
      session.buffers = forwarding.buffers
      let log = forwarding.log
      if let warnings = check.diagnostics(.warning) {
        log.write(.hostCertificateDiagnostics, [destination.place, warnings])
      }
      if let errors = check.diagnostics(.error) {
        guard tls?.verifies == false else { return fail(.hostNotTrusted, [errors]) }
        log.write(.hostAcceptedUnverified, [destination.place, errors])
      }
      phase = .confirming
      hearConfirmation()
    }
  }

  private func hearConfirmation() {
    guard let session else { return }
    var byte: UInt8 = 0
    session.beginReading()
    let outcome = withUnsafeMutableBytes(of: &byte) { session.read(into: $0) }
    session.endReading()
    switch outcome {
    case .blocked(let on): attempt?.watch(on)
    case .moved(1) where byte == 1:
      let peer = TLSPeer(
        distinguishedName: nil, parameters: session.parameters, keyBits: session.keyBits)
      let transport = TLSTransport(session, peer)
      attempt = nil
      finish(.success(transport))
    case .moved, .end: fail(.hostRefusedBroker)
    case .failed(let number):
      fail(
        .hostRefusedBrokerBecause,
        [session.state.error ?? Message(.connectionError, [errorText(number)])])
    }
  }
}
