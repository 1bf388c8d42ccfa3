// A TLS handshake with a client: from accept until the connection has a place or is refused.
import Glibc
import Streams

/// A handshake under way. The connection is not a client yet: only the limit of handshakes applies to it. The acceptor
/// owns it.
final class TLSHandshake: Handler, PendingConnection {
  private enum Phase {
    case shaking
    /// The client has a place; the byte that confirms it is being sent.
    case confirming
    /// Verified; waits for a place.
    case waiting
    case over
  }

  private unowned let tlsAcceptor: TLSAcceptor
  let id: UInt64
  /// The peer's address, and its text.
  let address: Address?
  let name: String
  let listener: Listener
  let origin: Origin
  let session: TLSSession
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  private var phase = Phase.shaking
  /// The step under way. Until it is done the session belongs to a thread of the pool.
  private var job: BlockingPool.Job?
  private(set) var peer: TLSPeer?
  /// The number of the client it becomes, once it is verified.
  var clientID: UInt64?

  init(
    _ session: TLSSession, from address: Address?, _ origin: Origin, id: UInt64,
    on listener: Listener, tlsAcceptor: TLSAcceptor
  ) {
    self.tlsAcceptor = tlsAcceptor
    self.id = id
    self.origin = origin
    self.listener = listener
    self.session = session
    self.address = address
    name = address?.text ?? "unknown address"
    watcher = DescriptorWatcher(session.number, on: tlsAcceptor.reactor)
    timer = TimerWatcher(on: tlsAcceptor.reactor)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    timer.start(seconds: tlsAcceptor.settings.handshakeSeconds)
    // No data is likely to be there yet, so a system call now is not worth it.
    watcher.watch(.read)
  }

  deinit { watcher.watch([]) }

  override func ready(_ ready: Interest) {
    switch phase {
    case .shaking: shake()
    case .confirming: confirm()
    case .waiting: checkForClose()
    case .over: break
    }
  }

  private func shake() {
    guard job == nil else { return }
    watcher.watch([])
    job = tlsAcceptor.pool.step(
      session, verify: { $0.verifyClient(at: TLSAcceptor.now) },
      completion: { [weak self] in self?.shaken($0) })
  }

  private func shaken(_ outcome: HandshakePool.Outcome) {
    job = nil
    guard phase == .shaking else { return }
    switch outcome {
    case .blocked(let on): watcher.watch(on)
    case .failed(let error): end(Message(.handshakeFailed, [error]))
    case .done(let check):
      session.buffers = tlsAcceptor.buffers
      guard let peer = tlsAcceptor.verify(self, check) else { return end(nil) }
      self.peer = peer
      timer.stop()
      phase = .waiting
      watcher.watch(.read)
      tlsAcceptor.verified(self)
    }
  }

  /// The connection has a place: sends the one byte that confirms this to libvirt's clients.
  func admitted() {
    tlsAcceptor.admitted(self)
    timer.start(seconds: tlsAcceptor.settings.handshakeSeconds)
    phase = .confirming
    guard session.say(1) else { return end(Message(.confirmationNotEncrypted)) }
    confirm()
  }

  private func confirm() {
    switch session.finishFlush() {
    case .blocked(let on): watcher.watch(on)
    case .failed(let error): end(Message(.confirmationNotSent, [error]))
    case .done:
      leave()
      tlsAcceptor.confirmed(self)
    }
  }

  /// A waiting client sends nothing. If it has closed the connection, there is no reason to keep it.
  private func checkForClose() {
    var byte: UInt8 = 0
    let count = recv(session.number, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
    if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) {
      return end(Message(.tlsClientLeftEarly))
    }
    if count > 0 { watcher.watch([]) }
  }

  override func timeUp() {
    end(Message(.handshakeTimedOut, [Int(tlsAcceptor.settings.handshakeSeconds)]))
  }

  /// Ends the handshake; logs the reason if there is one.
  func end(_ why: Message?) {
    guard phase != .over else { return }
    leave()
    tlsAcceptor.ended(self, why)
  }

  func dropped(_ why: Message) { end(why) }
  func hungUp() { end(Message(.tlsClientLeftEarly)) }
  var number: Int32 { session.number }

  private func leave() {
    phase = .over
    if let job { tlsAcceptor.pool.cancel(job) }
    job = nil
    timer.stop()
    watcher.watch([])
  }
}
