// One administrator's program on the admin socket.
import Glibc
import Streams

/// A connection to the admin socket, of a peer that has been checked. Its calls are answered on the spot.
final class AdminSession: Handler {
  private unowned let service: AdminService
  /// Counts up from 1, apart from the numbers of the main server's clients.
  let id: UInt64
  /// How the log calls it.
  let name: String
  /// In seconds since 1970.
  let connectedAt = Int64(time(nil))
  var identity: ProvenIdentity
  private let transport: PlainTransport
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  private var madeDialogue: Dialogue?
  private var liveness = Liveness()
  private var isOver = false

  init(_ descriptor: consuming Descriptor, peer: UnixPeer, id: UInt64, service: AdminService) {
    self.service = service
    self.id = id
    identity = ProvenIdentity(peer: peer)
    name = "administrator \(id) (pid \(peer.pid), uid \(peer.uid))"
    let reactor = service.broker.reactor
    watcher = DescriptorWatcher(descriptor.number, on: reactor)
    timer = TimerWatcher(on: reactor)
    // Descriptors that come along are for nobody, and the kernel closes them.
    transport = PlainTransport(descriptor, carriesDescriptors: false)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    madeDialogue = Dialogue(over: transport, owner: self, pool: service.broker.pool)
    watcher.watch(dialogue.interest)
  }

  deinit { watcher.watch([]) }

  /// Made right after the session itself, whom it has to know.
  private var dialogue: Dialogue {
    guard let madeDialogue else {
      preconditionFailure("a session has its dialogue from its first moment")
    }
    return madeDialogue
  }

  override func ready(_ ready: Interest) {
    if ready.contains(.read) { liveness.heardAt = service.broker.reactor.now }
    dialogue.ready(ready)
    turnEnded()
  }

  private func turnEnded() {
    guard !isOver else { return }
    if let end = dialogue.end {
      switch end {
      case .closed, .brokenOff: return finish(because: "closed by the administrator")
      case .failed(let number): return finish(because: errorText(number))
      case .violation(let violation):
        return finish(because: "protocol violation: \(violation)", .warning)
      }
    }
    if dialogue.isLeaving, dialogue.waiting == 0 {
      return finish(because: "closed by the administrator")
    }
    watcher.watch(dialogue.interest)
    if dialogue.knowsKeepAlive, !liveness.isWanted { startKeepAlive() }
    service.answered()
  }

  /// Ends the connection at once.
  func finish(because reason: String, _ level: BrokerLog.Level = .info) {
    guard !isOver else { return }
    isOver = true
    timer.stop()
    watcher.watch([])
    dialogue.clear()
    service.departed(self, because: reason, level)
  }

  // MARK: Keepalive

  /// A client that has sent keepalive packets itself can be asked for life. libvirt's own do not on this
  /// socket, and would take a PING for a breach of the protocol.
  private func startKeepAlive() {
    liveness.isWanted = true
    keepAliveChanged()
  }

  /// The interval is another from now on, or there is none any more.
  func keepAliveChanged() {
    guard liveness.isWanted, !isOver else { return }
    let interval = service.settings.keepAlive.intervalSeconds
    if interval > 0 { timer.start(seconds: Double(interval)) } else { timer.stop() }
  }

  override func timeUp() {
    guard !isOver else { return }
    let settings = service.settings.keepAlive
    let interval = Double(settings.intervalSeconds)
    let now = service.broker.reactor.now
    if liveness.heardAt > liveness.pingedAt { liveness.unanswered = 0 }
    let silence = now - max(liveness.heardAt, liveness.pingedAt)
    // Timers may be early by what clocks differ.
    guard silence > interval - 0.001 else { return timer.start(seconds: interval - silence) }
    guard liveness.unanswered < settings.count else {
      return finish(
        because: "no answer to \(liveness.unanswered) keepalive PINGs "
          + "(admin_keepalive_interval \(settings.intervalSeconds) s, "
          + "admin_keepalive_count \(settings.count))", .warning)
    }
    liveness.unanswered += 1
    liveness.pingedAt = now
    if dialogue.waiting == 0 { dialogue.reply(Packets.keepAlive(KeepAliveProcedure.ping)) }
    timer.start(seconds: interval)
    dialogue.settle()
    turnEnded()
  }
}

extension AdminSession: DialogueOwner {
  func answer(_ call: PacketHeader, body: [UInt8]) {
    // It may have ended itself by a call in front of this one.
    guard !isOver else { return }
    do throws(RemoteError) {
      let answer = try service.answer(call, body: body, for: self)
      guard !isOver else { return }
      dialogue.reply(
        answer.map { Packets.reply(answering: call, $0) } ?? Packets.reply(answering: call))
    } catch {
      dialogue.reply(Packets.error(answering: call, error))
    }
  }

  /// The reply to the call under way is the last.
  func leave() { dialogue.isLeaving = true }
}
