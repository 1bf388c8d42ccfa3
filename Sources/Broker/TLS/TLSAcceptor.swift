// Accepting clients over TLS: the certificates in use, their renewal, and the handshakes under way.
import Glibc
import Streams

/// The certificates in use and the handshakes, for administrators.
public struct TLSStatus: Sendable, Equatable {
  public var certificates: [TLSCertificateSummary]
  /// Number of certificate sets used so far.
  public var generation: Int
  public var handshakes: Int
}

/// All TLS state of one broker. New handshakes use the newest set of certificates that passed its checks. Sessions keep
/// the set they were made with.
final class TLSAcceptor {
  /// Delay before a reload: programs often write the files one after the other.
  private static let settleSeconds = 0.5
  private static let reminderSeconds = 3600.0

  private unowned let broker: Broker
  private(set) var settings: TLSSettings
  private(set) var credentials: TLSCredentials
  private(set) var generation = 1
  /// For sessions whose handshake is done.
  let buffers = TLSBuffers()
  var pool: HandshakePool { broker.loop.handshakes }
  private var handshakes: [UInt64: TLSHandshake] = [:]
  private var order: [UInt64] = []
  /// Verified handshakes that wait for a place.
  private var waiting: [TLSHandshake] = []
  private var lastID: UInt64 = 0
  private var limitWarning = WarningInterval()
  private var reminders: [String: ExpiryReminder] = [:]
  private var watch: FileWatch?
  private lazy var reminderAlarm = Alarm(on: broker.reactor) { [unowned self] in hourUp() }

  var reactor: Reactor { broker.reactor }
  private var log: BrokerLog { broker.log[.tls] }

  /// - Throws: why the certificates cannot be used.
  init(_ settings: TLSSettings, broker: Broker) throws(BrokerFailure) {
    self.broker = broker
    self.settings = settings
    do throws(TLSCredentialsError) {
      credentials = try TLSCredentials(settings, at: TLSAcceptor.now)
    } catch {
      throw BrokerFailure(.tlsNotServed, [error.message])
    }
  }

  /// Seconds since 1970.
  static var now: Int64 { Int64(time(nil)) }

  /// Starts watching the files. Call it once the log is being written.
  func start() {
    logCertificates()
    remind()
    reminderAlarm.start(seconds: TLSAcceptor.reminderSeconds)
    watchFiles()
  }

  private func watchFiles() {
    let watch = FileWatch(
      settings.files, settleSeconds: TLSAcceptor.settleSeconds, on: reactor, log: log
    ) { [unowned self] in reload(because: Message(.certificateFilesChanged)) }
    watch.start()
    self.watch = watch
  }

  var status: TLSStatus {
    TLSStatus(
      certificates: credentials.summaries, generation: generation, handshakes: handshakes.count)
  }

  // MARK: Handshakes

  /// Starts the handshake of a connection that has been accepted.
  func startHandshake(
    _ descriptor: consuming Descriptor, from address: Address?, _ origin: Origin,
    on listener: Listener
  ) {
    ClientSession.tune(descriptor.number)
    let session: TLSSession
    do throws(TLSError) {
      session = try TLSSession(
        serving: descriptor, with: credentials, buffers: pool.buffers)
    } catch {
      return log.write(.tlsSessionNotCreated, [error.message])
    }
    if handshakes.count >= settings.maxHandshakes { makeRoom() }
    lastID += 1
    let handshake = TLSHandshake(
      session, from: address, origin, id: lastID, on: listener, tlsAcceptor: self)
    handshakes[lastID] = handshake
    order.append(lastID)
    if order.count > 2 * settings.maxHandshakes + 64 { order.removeAll { handshakes[$0] == nil } }
  }

  /// Ends the oldest handshake of the address that has the most: an address that floods the broker with handshakes only
  /// displaces its own.
  private func makeRoom() {
    var counts: [Origin: Int] = [:]
    for handshake in handshakes.values { counts[handshake.origin, default: 0] += 1 }
    let most = counts.values.max()
    guard
      let oldest = order.first(where: { id in
        handshakes[id].map { counts[$0.origin] == most } ?? false
      })
    else { return }
    if limitWarning.takeDue(at: reactor.now) {
      log.write(.handshakeLimitReached, [settings.maxHandshakes])
    }
    handshakes[oldest]?.end(Message(.handshakeDisplaced))
  }

  /// The client, if its certificates are accepted. Otherwise nil, and the log has the reason.
  func verify(_ handshake: TLSHandshake, _ check: TLSPeerCheck) -> TLSPeer? {
    let session = handshake.session
    if let warnings = check.diagnostics(.warning) {
      log.write(.tlsClientDiagnostics, [handshake.name, warnings])
    }
    var peer = TLSPeer(
      distinguishedName: check.name, parameters: session.parameters, keyBits: session.keyBits)
    if let errors = check.diagnostics(.error) {
      guard let credentials = session.credentials, !credentials.refusesClients else {
        log.write(.tlsClientRefused, [handshake.name, errors])
        broker.observation.recordRefused(
          handshake.name, check.name, on: handshake.listener, errors.text)
        return nil
      }
      log.write(.tlsClientAcceptedUnverified, [handshake.name, errors])
      // The name is not verified.
      peer.distinguishedName = nil
    }
    return peer
  }

  /// The handshake is done; the connection waits for a place.
  func verified(_ handshake: TLSHandshake) {
    // In this order: removing the handshake may release the last reference.
    waiting.append(handshake)
    handshakes[handshake.id] = nil
    broker.acceptor.requestPlace(for: handshake)
  }

  /// The connection has a place; the confirmation is sent next.
  func admitted(_ handshake: TLSHandshake) {
    handshakes[handshake.id] = handshake
    waiting.removeAll { $0 === handshake }
  }

  /// The confirmation is sent: the connection becomes a client.
  func confirmed(_ handshake: TLSHandshake) {
    forget(handshake)
    guard let peer = handshake.peer else { return }
    broker.observation.counts.handshakes[.verified, default: 0] &+= 1
    broker.acceptor.open(
      handshake, over: TLSTransport(handshake.session, peer), from: handshake.address)
  }

  func ended(_ handshake: TLSHandshake, _ why: Message?) {
    if let why {
      log.write(why.prefixed("\(handshake.name): "), at: .warning)
      broker.observation.counts.handshakes[.failed, default: 0] &+= 1
    }
    forget(handshake)
    broker.acceptor.ended(handshake)
  }

  private func forget(_ handshake: TLSHandshake) {
    reactor.releaseAfterTurn(handshake)
    handshakes[handshake.id] = nil
    waiting.removeAll { $0 === handshake }
    if handshakes.isEmpty { order.removeAll(keepingCapacity: true) }
  }

  /// Ends every connection that is not a client yet.
  func close() {
    reminderAlarm.stop()
    watch = nil
    for handshake in Array(handshakes.values) + waiting { handshake.end(nil) }
  }

  // MARK: Certificates

  /// Loads the current files. If they are refused, logs and returns the reason and keeps the certificates in use.
  @discardableResult
  func reload(because reason: Message) -> TLSCredentialsError? {
    do throws(TLSCredentialsError) {
      credentials = try TLSCredentials(
        settings, at: TLSAcceptor.now, keeping: credentials.revocations)
    } catch {
      log.write(.certificateReloadFailed, [reason, error.message])
      return error
    }
    generation += 1
    log.write(.certificatesReloaded, [reason])
    logCertificates()
    reminders = [:]
    remind()
    return nil
  }

  /// Uses these settings, with the current files, for new handshakes. Returns nil, or the error; the old settings and
  /// files then stay in use.
  func adopt(
    _ settings: TLSSettings, because reason: Message
  ) -> TLSCredentialsError? {
    let old = self.settings
    self.settings = settings
    if let error = reload(because: reason) {
      self.settings = old
      return error
    }
    if old.files != settings.files { watchFiles() }
    return nil
  }

  private func logCertificates() {
    for warning in credentials.warnings { log.write(warning) }
    let now = TLSAcceptor.now
    for summary in credentials.summaries { log.write(summary.expiry(at: now), at: .info) }
  }

  private func hourUp() {
    remind()
    reminderAlarm.start(seconds: TLSAcceptor.reminderSeconds)
  }

  private func remind() {
    let now = TLSAcceptor.now
    for summary in credentials.summaries {
      let key = "\(summary.file) \(summary.name)"
      if reminders[key, default: ExpiryReminder()].isDue(days: summary.daysLeft(at: now)) {
        log.write(summary.expiry(at: now), at: .warning)
      }
    }
  }
}
