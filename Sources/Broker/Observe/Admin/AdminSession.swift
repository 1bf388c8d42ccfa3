// One administrator's program on the admin socket.
import Glibc
import Streams

/// A connection to the admin socket, of a peer that has been checked. Its calls are answered on the spot.
final class AdminSession: Handler {
  private unowned let service: AdminService
  /// Unique among administrators; starts at 1.
  let id: UInt64
  /// Name used in log messages.
  let name: String
  /// In seconds since 1970.
  let connectedAt = Int64(time(nil))
  var identity: VerifiedIdentity
  private let transport: PlainTransport
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  private var madeConnection: ServerConnection?
  private var keepAlive = KeepAlive()
  private var isOver = false

  init(_ descriptor: consuming Descriptor, peer: UnixPeer, id: UInt64, service: AdminService) {
    self.service = service
    self.id = id
    identity = VerifiedIdentity(peer: peer)
    name = "administrator \(id) (pid \(peer.pid), uid \(peer.uid))"
    let reactor = service.broker.reactor
    watcher = DescriptorWatcher(descriptor.number, on: reactor)
    timer = TimerWatcher(on: reactor)
    // No call takes descriptors; the kernel closes those that are passed.
    transport = PlainTransport(descriptor, carriesDescriptors: false)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    madeConnection = ServerConnection(
      over: transport, owner: self, pool: service.broker.loop.segments)
    watcher.watch(connection.interest)
  }

  deinit { watcher.watch([]) }

  /// Made right after the session itself, its owner.
  private var connection: ServerConnection {
    guard let madeConnection else {
      preconditionFailure("the initializer has made the connection")
    }
    return madeConnection
  }

  override func ready(_ ready: Interest) {
    if ready.contains(.read) { keepAlive.heardAt = service.broker.reactor.now }
    connection.ready(ready)
    turnEnded()
  }

  private func turnEnded() {
    guard !isOver else { return }
    if let end = connection.end {
      switch end {
      case .closed, .brokenOff: return finish(because: Message(.closedByPeer))
      case .failed(let number):
        return finish(because: Message(.adminConnectionFailed, [errorText(number)]))
      case .violation(let violation):
        return finish(because: Message(.protocolViolation, [violation.message]))
      }
    }
    if connection.isLeaving, connection.waiting == 0 {
      return finish(because: Message(.closedByPeer))
    }
    watcher.watch(connection.interest)
    if connection.knowsKeepAlive, !keepAlive.isWanted { startKeepAlive() }
    service.answered()
  }

  /// Ends the connection at once.
  func finish(because reason: Message) {
    guard !isOver else { return }
    isOver = true
    timer.stop()
    watcher.watch([])
    connection.clear()
    service.closed(self, because: reason)
  }

  // MARK: Keepalive

  /// A client that has sent keepalive packets itself can be sent PINGs. libvirt's own clients send none on this
  /// socket, and treat a PING as a protocol violation.
  private func startKeepAlive() {
    keepAlive.start(service.settings.keepAlive, at: service.broker.reactor.now)
    awaitLook()
  }

  /// The interval or the count has changed.
  func keepAliveChanged() {
    guard !isOver else { return }
    keepAlive.adopt(service.settings.keepAlive, at: service.broker.reactor.now)
    awaitLook()
  }

  private func awaitLook() {
    guard let time = keepAlive.lookAt else { return timer.stop() }
    timer.start(seconds: max(0.001, time - service.broker.reactor.now))
  }

  override func timeUp() {
    guard !isOver else { return }
    let settings = service.settings.keepAlive
    var traffic = KeepAlive.Traffic()
    traffic.waiting = connection.waiting
    switch keepAlive.look(settings, traffic, at: service.broker.reactor.now) {
    case .nothing: break
    case .ping:
      if connection.waiting == 0 { connection.reply(Packets.keepAlive(KeepAliveProcedure.ping)) }
    case .dead(let unanswered):
      return finish(
        because: Message(
          .adminKeepAliveTimeout, [unanswered, settings.intervalSeconds, settings.count]))
    }
    awaitLook()
    connection.settle()
    turnEnded()
  }
}

extension AdminSession: ServerConnectionOwner {
  func answer(_ call: PacketHeader, body: [UInt8]) {
    // It may have ended itself by a call in front of this one.
    guard !isOver else { return }
    do throws(RemoteError) {
      let answer = try service.answer(call, body: body, for: self)
      guard !isOver else { return }
      connection.reply(
        answer.map { Packets.reply(answering: call, $0) } ?? Packets.reply(answering: call))
    } catch {
      connection.reply(Packets.error(answering: call, error))
    }
  }

  /// The reply to the call under way is the last.
  func leave() { connection.isLeaving = true }
}
