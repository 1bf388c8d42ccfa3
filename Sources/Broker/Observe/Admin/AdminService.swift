// The admin socket: which users may connect, and the calls it answers.
import Glibc
import Streams

/// Serves the admin socket. It accepts the user that runs the broker and no other, without further authentication.
final class AdminService {
  unowned let broker: Broker
  var settings: AdminSettings
  private var listener: Listener?
  /// The thread pools that virt-admin sees and may change, without any effect on threads.
  var threadPools: (main: ThreadPoolReport, admin: ThreadPoolReport)
  private(set) var sessions: [UInt64: AdminSession] = [:]
  /// The user that started the broker, even if the process later becomes another user.
  private let owner = geteuid()
  private var lastClient: UInt64 = 0
  /// Reported, without effect: administrators need not authenticate.
  var maxAnonymousClients = 0
  /// The daemon stops once the administrator's call has been answered.
  var isStopWanted = false

  init(
    _ listener: ListenerSettings, _ settings: AdminSettings, broker: Broker
  ) throws(BrokerFailure) {
    self.broker = broker
    self.settings = settings
    threadPools = (ThreadPoolReport(settings.mainWorkers), ThreadPoolReport(settings.adminWorkers))
    self.listener =
      try Listener.open(
        listener, acceptor: broker.acceptor, loop: broker.loop, account: broker.settings.account,
        backlog: settings.maxQueuedClients
      ).first
  }

  var name: String? { listener?.name }

  func start() {
    listener?.isAccepting = true
    if let name { broker.log[.admin].write(.adminListening, [name]) }
  }

  /// Stops listening.
  func close() { listener = nil }

  /// Ends everything, including the sessions.
  func end() {
    close()
    for session in sessions.values { session.finish(because: Message(.brokerStopping)) }
  }

  // MARK: Sessions

  func accepted(_ descriptor: consuming Descriptor) {
    guard let peer = UnixPeer(of: descriptor.number), peer.uid == owner else {
      let peer = UnixPeer(of: descriptor.number)
      let origin = Origin(ofUserAt: descriptor.number)
      broker.loop.closer.close(descriptor.release(), for: origin, isCounted: false)
      return broker.log[.admin].write(
        peer.map { Message(.administratorRefused, [owner, $0.uid, $0.pid]) }
          ?? Message(.unknownAdministratorRefused, [owner]))
    }
    lastClient += 1
    let session = AdminSession(descriptor, peer: peer, id: lastClient, service: self)
    sessions[session.id] = session
    session.identity.names = broker.authentication.names.names(uid: peer.uid, gid: peer.gid) {
      [weak session] names in session?.identity.names = names
    }
    broker.log[.admin].write(.administratorConnected, [session.name])
    broker.occupancyChanged()
    limitChanged()
  }

  func closed(_ session: AdminSession, because reason: Message) {
    broker.log[.admin].write(
      .administratorDisconnected, [session.name, reason], at: reason.severity)
    // In this order: this may release the last reference but the reactor's.
    broker.reactor.releaseAfterTurn(session)
    sessions[session.id] = nil
    broker.occupancyChanged()
    limitChanged()
  }

  /// Applies new settings. Connected administrators stay.
  func adopt(_ new: AdminSettings) {
    // Values that an administrator has set stay until the file has new ones.
    if new.mainWorkers != settings.mainWorkers {
      threadPools.main = ThreadPoolReport(new.mainWorkers)
    }
    if new.adminWorkers != settings.adminWorkers {
      threadPools.admin = ThreadPoolReport(new.adminWorkers)
    }
    settings = new
    listener?.setBacklog(new.maxQueuedClients)
    for session in sessions.values { session.keepAliveChanged() }
    limitChanged()
  }

  /// Starts or stops accepting, according to the limit.
  func limitChanged() {
    guard let listener else { return }
    let hasRoom = sessions.count < settings.maxClients
    if listener.isAccepting, !hasRoom {
      broker.log[.admin].write(.adminLimitReached, [settings.maxClients])
    }
    listener.isAccepting = hasRoom
  }

  /// The kernel has no descriptor for another connection.
  func pauseAccepting() { listener?.isAccepting = false }

  /// All calls of a turn have been answered.
  func answered() {
    guard isStopWanted else { return }
    isStopWanted = false
    broker.log[.admin].write(.stopRequested)
    broker.stop()
  }

  // MARK: Calls

  /// The result of a call; nil: there is none.
  func answer(
    _ call: PacketHeader, body: [UInt8], for session: AdminSession
  ) throws(RemoteError) -> (any XDRBody)? {
    guard call.program == Program.admin || call.program == Program.broker,
      call.version == Program.version
    else {
      throw RemoteError(
        .rpc, .unknownProgram,
        [Int32(bitPattern: call.program), Int32(bitPattern: call.version)])
    }
    guard call.status == .ok else {
      throw RemoteError(.rpc, .unexpectedStatus, [call.status.rawValue])
    }
    if call.program == Program.broker {
      return try result(of: decoded(call, body, BrokerCall.init(procedure:body:)))
    }
    return try result(of: decoded(call, body, AdminCall.init(procedure:body:)), for: session)
  }

  private func decoded<Decoded>(
    _ call: PacketHeader, _ body: [UInt8],
    _ read: (Int32, UnsafeRawBufferPointer) throws -> Decoded?
  ) throws(RemoteError) -> Decoded {
    let found: Decoded?
    do {
      found = try body.withUnsafeBytes { try read(call.procedure, $0) }
    } catch {
      throw RemoteError(.rpc, .undecodableCall)
    }
    guard let found else { throw RemoteError(.rpc, .unknownProcedure, [call.procedure]) }
    return found
  }
}
