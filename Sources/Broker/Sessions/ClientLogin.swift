// The resources of a client's login: a SASL exchange, a polkit check, and the counts of connections.
import Streams

/// The mechanics of one client's login. `Session` has its state.
struct ClientLogin {
  let method: Authentication
  /// The listener that accepted the client.
  weak var listener: Listener?
  /// The properties of the connection that SASL needs.
  let connection: SASLConnection
  /// The client's transport, if it may get a security layer.
  private(set) var transport: SASLTransport?
  /// SASL: the exchange, from AUTH_SASL_INIT until it has failed or the client leaves.
  var exchange: SASLExchange?
  /// The step of the exchange that is under way or queued.
  var job: BlockingPool.Job?
  /// The polkit check, while it is under way.
  var check: PolkitAuthority.Check?
  /// The network address and the identity for which the client is counted; nil: it is not.
  var address: String?
  var subject: String?

  init(at listener: Listener, _ descriptor: Int32, from peer: Address?, tls: TLSPeer?) {
    method = listener.settings.authentication
    self.listener = listener
    guard !listener.settings.isUNIX else {
      connection = SASLConnection(cover: .local, local: "127.0.0.1;0", remote: "127.0.0.1;0")
      return
    }
    let remote = peer?.saslText
    var connection = SASLConnection(
      cover: .none, local: Address.local(of: descriptor)?.saslText, remote: remote)
    if let tls { connection.cover = .tls(bits: UInt32(clamping: tls.keyBits)) }
    self.connection = connection
    address = remote.map { String($0.prefix { $0 != ";" }) }
  }

  /// The transport for the relay: the socket itself, unless it may get a security layer.
  mutating func layer(over transport: any Transport) -> any Transport {
    guard method == .sasl else { return transport }
    let layered = SASLTransport(transport)
    self.transport = layered
    return layered
  }
}

extension ClientSession {
  // MARK: Counting

  /// Counts the client, and starts the lookup of its names.
  func begin() {
    recordOpened()
    if let address = login.address {
      let most = broker.settings.limits.maxClientsPerAddress
      if broker.sessions.addresses.add(address, most: most) {
        // It counts no more by then.
        return post(.turnAway(.address, Message(.addressLimitReached, [most, address])))
      }
    }
    // A SASL user is counted by its name, once that is verified.
    if login.method != .sasl, let reason = count(identity) {
      return post(.turnAway(.identity, reason))
    }
    guard let peer = identity.peer else { return }
    let known = broker.authentication.names.names(uid: peer.uid, gid: peer.gid) {
      [weak self] names in
      self?.post(.namesKnown(names))
    }
    if let known { post(.namesKnown(known)) }
  }

  /// Counts the client by its identity. Returns a message if that identity has too many clients.
  private func count(_ identity: VerifiedIdentity) -> Message? {
    guard let subject = identity.subject else { return nil }
    if let before = login.subject { broker.sessions.subjects.remove(before) }
    login.subject = subject
    let most = broker.settings.limits.maxClientsPerIdentity
    guard broker.sessions.subjects.add(subject, most: most) else { return nil }
    return Message(.identityLimitReached, [most, identity.name ?? subject])
  }

  /// Stops counting the client: it has left, or exceeds a limit.
  func uncount() {
    if let address = login.address { broker.sessions.addresses.remove(address) }
    if let subject = login.subject { broker.sessions.subjects.remove(subject) }
    login.address = nil
    login.subject = nil
  }

  /// Cancels the polkit check that is under way, so that polkit closes its dialog. Otherwise the check would use
  /// another client's place until the dialog is answered.
  func endLogin() {
    uncount()
    if let check = login.check { broker.authentication.polkit?.cancel(check) }
    login.check = nil
    if let job = login.job { broker.loop.blocking.cancel(job) }
    login.job = nil
    login.exchange = nil
  }

  // MARK: SASL

  func perform(_ step: SASLStep) {
    guard let service = broker.authentication.sasl else {
      return post(.sasl(.failed(Message(.saslNotConfigured))))
    }
    switch step {
    case .begin:
      let exchange = service.exchange(over: login.connection)
      login.exchange = exchange
      run(
        { exchange.begin() },
        completion: { session, result in
          switch result {
          case .success(let mechanisms): session.post(.sasl(.offers(mechanisms)))
          case .failure(let error): session.post(.sasl(.failed(error)))
          }
        })
    case .start(let mechanism, let data):
      proceed(service) { $0.start(mechanism, data) }
    case .step(let data):
      proceed(service) { $0.step(data) }
    }
  }

  /// Runs a step of the library on the blocking pool.
  private func run<Result: Sendable>(
    _ work: @escaping @Sendable () -> Result,
    completion: @escaping (ClientSession, Result) -> Void
  ) {
    login.job = broker.loop.blocking.run(
      .sasl, work,
      completion: { [weak self] result in
        guard let self, !isOver else { return }
        login.job = nil
        completion(self, result)
      })
  }

  private func proceed(
    _ service: SASLService, _ step: @escaping @Sendable (SASLExchange) -> SASLExchange.Progress
  ) {
    guard let exchange = login.exchange else {
      return post(.sasl(.failed(Message(.exchangeNotBegun))))
    }
    run(
      { step(exchange) },
      completion: { session, progress in
        session.post(.sasl(session.answer(to: progress, exchange, service)))
      })
  }

  private func answer(
    to progress: SASLExchange.Progress, _ exchange: SASLExchange, _ service: SASLService
  ) -> SASLAnswer {
    switch progress {
    case .continuesSoon(let words): return .proceeds(words)
    case .failed(let error):
      return .failed(Message(.mechanismFailed, [exchange.mechanism.prefix(64), error]))
    case .done(let words, let user, let strength):
      guard service.admits(user) else {
        return .failed(Message(.userNotAllowed, [user]))
      }
      var identity = identity
      identity.saslUser = user
      return .done(
        SASLSuccess(
          lastWords: words, user: user, mechanism: exchange.mechanism, strength: strength),
        tooMany: count(identity))
    }
  }

  /// Encodes everything after the data already queued for the client, and decodes everything it sends.
  func protect() {
    guard let exchange = login.exchange else { return }
    login.transport?.switchOn(exchange, clear: relay.waitingForClient)
  }

  // MARK: polkit

  func askPolkit(_ action: String) {
    guard let polkit = broker.authentication.polkit, let peer = identity.peer,
      let startTime = peer.startTime
    else { return post(.polkit(.refused(.unset, Message(.polkitNotConfigured)))) }
    login.check = polkit.check(
      PolkitSubject(pid: peer.pid, startTime: startTime, uid: peer.uid), action: action
    ) { [weak self] result in
      guard let self, !isOver else { return }
      login.check = nil
      post(
        .polkit(result == .granted ? .granted : .refused(result.error(action), result.reason)))
    }
  }
}
