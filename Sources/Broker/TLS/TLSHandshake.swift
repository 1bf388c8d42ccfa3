// One client on its way in over TLS: from accept until it is verified, or refused.
import Glibc
import Streams

/// A handshake under way. It is no client yet: it counts against no limit but that of handshakes, and
/// belongs to the door alone.
final class TLSHandshake: Handler {
  private enum Phase {
    case shaking
    /// The client is verified; the byte that tells it so is on its way.
    case confirming
    /// Verified, but there is no place: it waits for one to become free.
    case waiting
    case over
  }

  private unowned let door: TLSDoor
  let id: UInt64
  /// The peer's address, and its text.
  let address: Address?
  let name: String
  let listener: Listener
  let session: TLSSession
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  private var phase = Phase.shaking
  private(set) var peer: TLSPeer?
  /// There was room for it.
  private(set) var isEntering = false

  init(
    _ session: TLSSession, from address: Address?, id: UInt64, on listener: Listener, door: TLSDoor
  ) {
    self.door = door
    self.id = id
    self.listener = listener
    self.session = session
    self.address = address
    name = address?.text ?? "unknown address"
    watcher = DescriptorWatcher(session.number, on: door.reactor)
    timer = TimerWatcher(on: door.reactor)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    timer.start(seconds: door.settings.handshakeSeconds)
    // Nothing can have come yet that is worth a system call now.
    watcher.watch(.read)
  }

  deinit { watcher.watch([]) }

  override func ready(_ ready: Interest) {
    switch phase {
    case .shaking: if door.maySpendTime() { shake() }
    case .confirming: confirm()
    case .waiting: lookForEnd()
    case .over: break
    }
  }

  private func shake() {
    switch session.handshake() {
    case .blocked(let on): watcher.watch(on)
    case .failed(let why): end("the TLS handshake failed: \(why)")
    case .done:
      guard let peer = door.verify(self) else { return end(nil) }
      self.peer = peer
      timer.stop()
      phase = .waiting
      watcher.watch(.read)
      door.verified(self)
    }
  }

  /// There is room: the client is told that it may come in, with the one byte that libvirt's clients
  /// wait for.
  func letIn() {
    timer.start(seconds: door.settings.handshakeSeconds)
    phase = .confirming
    isEntering = true
    guard session.say(1) else { return end("the confirmation could not be encrypted") }
    confirm()
  }

  private func confirm() {
    switch session.finishFlush() {
    case .blocked(let on): watcher.watch(on)
    case .failed(let why): end("the confirmation could not be sent: \(why)")
    case .done:
      leave()
      door.letIn(self)
    }
  }

  /// A client that waits has nothing to say; one that leaves need not be kept.
  private func lookForEnd() {
    var byte: UInt8 = 0
    let count = recv(session.number, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
    if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) {
      return end("it left before there was room for it")
    }
    if count > 0 { watcher.watch([]) }
  }

  override func timeUp() {
    end(
      "the TLS handshake was not finished within \(Int(door.settings.handshakeSeconds)) s "
        + "(tls_handshake_timeout)")
  }

  /// Ends it. With a reason that has not been logged yet.
  func end(_ why: String?) {
    guard phase != .over else { return }
    leave()
    door.ended(self, why)
  }

  private func leave() {
    phase = .over
    timer.stop()
    watcher.watch([])
  }
}
