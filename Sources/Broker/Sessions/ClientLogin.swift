// What a client's login uses: a SASL exchange, a polkit check, and the counts of connections.
import Streams

/// The mechanics of one client's login. Its state is in `Session`.
struct ClientLogin {
  let method: Authentication
  /// The listener that accepted the client.
  weak var listener: Listener?
  /// What SASL has to know of the connection.
  let connection: SASLConnection
  /// The client's transport, where it may get a layer.
  private(set) var transport: SASLTransport?
  /// SASL: the exchange, from AUTH_SASL_INIT until it has failed or the client leaves.
  var exchange: SASLExchange?
  /// The step of it that is under way, or waits for its turn.
  var job: BlockingPool.Job?
  /// polkit's check, while it is under way.
  var check: PolkitAuthority.Check?
  /// The network address and the identity it counts for, while it does.
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

  /// What the relay is to read and write: the socket itself, unless it may get a layer.
  mutating func layer(over transport: any Transport) -> any Transport {
    guard method == .sasl else { return transport }
    let layered = SASLTransport(transport)
    self.transport = layered
    return layered
  }
}

extension ClientSession {
  // MARK: Counting

  /// Counts the client where it counts, and starts to learn who it is.
  func begin() {
    recordOpened()
    if let address = login.address {
      let most = broker.settings.limits.maxClientsPerAddress
      if broker.sessions.addresses.add(address, most: most) {
        // It counts no more by then.
        return post(.turnAway(.address, Message(.addressLimitReached, [most, address])))
      }
    }
    // A user of SASL's is counted by the name it will have proved to be its own.
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

  /// Counts the client by its identity. The message says that there are too many of these.
  private func count(_ identity: VerifiedIdentity) -> Message? {
    guard let subject = identity.subject else { return nil }
    if let before = login.subject { broker.sessions.subjects.remove(before) }
    login.subject = subject
    let most = broker.settings.limits.maxClientsPerIdentity
    guard broker.sessions.subjects.add(subject, most: most) else { return nil }
    return Message(.identityLimitReached, [most, identity.name ?? subject])
  }

  /// The client counts no more: it is gone, or one too many.
  func uncount() {
    if let address = login.address { broker.sessions.addresses.remove(address) }
    if let subject = login.subject { broker.sessions.subjects.remove(subject) }
    login.address = nil
    login.subject = nil
  }

  /// A check of polkit's that is under way is cancelled, and a dialog closed: it would keep the place of another client
  /// for as long as it is not answered.
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

  /// Has the library do something, away from the loop.
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

  /// Everything behind what is queued for the client is encoded, and everything it sends decoded.
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
