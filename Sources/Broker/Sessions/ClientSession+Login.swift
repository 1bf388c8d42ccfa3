// The calls by which a client proves who it is, and what comes before and after.
import Streams

extension ClientSession {
  /// A client that is one too many is waited for so long, to be told.
  private static let refusalSeconds = 5.0

  // MARK: Coming in

  /// Counts the client where it counts, and starts to learn who it is.
  func begin() {
    recordOpened()
    if let address = login.address {
      broker.addresses.add(address)
      let most = broker.settings.limits.maxClientsPerAddress
      if most > 0, broker.addresses[address] > most {
        return turnAway(
          .address,
          "\(most == 1 ? "there is" : "there are") \(counted(most, "connection")) from \(address), which is max_clients_per_address"
        )
      }
    }
    if identity.distinguishedName != nil, login.method != .sasl, !countSubject() { return }
    if let peer = identity.peer {
      identity.names = broker.names.names(uid: peer.uid, gid: peer.gid) { [weak self] names in
        self?.namesKnown(names)
      }
      // A user of SASL's is counted by the name it will have proved to be its own.
      if login.method != .sasl, !countSubject() { return }
    }
    guard !login.isDone else { return }
    let seconds = broker.settings.loginSeconds
    if seconds > 0 { timer.start(seconds: seconds) }
  }

  private func namesKnown(_ names: UnixNames) {
    guard phase != .over else { return }
    identity.names = names
    for upstream in upstreams { upstream.namesKnown() }
    settle()
  }

  /// Counts the client as whose it is, as far as that is known by now. False, and the client turned away, if
  /// there are too many of these.
  func countSubject() -> Bool {
    guard let subject = identity.subject else { return true }
    if let before = login.subject { broker.subjects.remove(before) }
    login.subject = subject
    broker.subjects.add(subject)
    let most = broker.settings.limits.maxClientsPerIdentity
    guard most > 0, broker.subjects[subject] > most else { return true }
    turnAway(
      .identity,
      "\(most == 1 ? "there is" : "there are") \(counted(most, "connection")) of "
        + "'\(identity.name ?? subject)', which is max_clients_per_identity")
    return false
  }

  /// From now on every call of it is answered with why it cannot stay.
  private func turnAway(_ why: Refusal, _ reason: String) {
    log[.client].warning("\(name) is turned away: \(reason)")
    recordRefused(why, reason)
    uncount()
    login.refusal = RemoteError(.operationFailed, "too many connections: \(reason)")
    timer.start(seconds: ClientSession.refusalSeconds)
  }

  /// Says why, and ends the connection behind that.
  func refuseForGood(_ call: PacketHeader, _ error: RemoteError) -> Bool {
    relay.reply(Packets.error(answering: call, error))
    leave()
    return true
  }

  private func leave() {
    phase = .leaving
    relay.isHeld = true
    timer.start(seconds: ClientSession.closeSeconds)
  }

  /// The client counts no more: it is gone, or one too many.
  private func uncount() {
    if let address = login.address, login.refusal == nil { broker.addresses.remove(address) }
    if let subject = login.subject { broker.subjects.remove(subject) }
    login.subject = nil
  }

  func endLogin() {
    uncount()
    login.isDone = true
    if let check = login.check { broker.polkit?.cancel(check) }
    login.check = nil
    if let job = login.job { broker.sasl?.workshop.cancel(job) }
    login.job = nil
    login.exchange = nil
  }

  /// A client that was to prove who it is has taken too long. A check of polkit's that is under way is cancelled, and
  /// a dialog closed: it would keep the place of another client for as long as it is not answered.
  func loginTimeUp() {
    if login.refusal != nil { return finish(because: "turned away, and it asked for nothing") }
    recordRefused(.loginTime, "it has not authenticated in time")
    finish(
      because: "it has not authenticated within \(Int(broker.settings.loginSeconds)) s", .warning)
  }

  private func loggedIn() {
    login.isDone = true
    recordLoggedIn()
    timer.stop()
    broker.authenticated(self)
  }

  // MARK: Calls

  /// AUTH_LIST to AUTH_POLKIT.
  func authenticate(_ call: PacketHeader, _ body: [UInt8]) -> Bool {
    switch call.procedure {
    case Remote.authSASLInit: saslInit(call)
    case Remote.authSASLStart:
      guard let arguments = body.withUnsafeBytes({ try? SASLStartArguments(payload: $0) }) else {
        return refuseBody(call)
      }
      saslStep(call, arguments.data.bytes, choosing: arguments.mechanism)
    case Remote.authSASLStep:
      guard let data = body.withUnsafeBytes({ try? SASLData(payload: $0) }) else {
        return refuseBody(call)
      }
      saslStep(call, data.bytes, choosing: nil)
    case Remote.authPolkit: askPolkit(call)
    default: listMethods(call)
    }
    return true
  }

  private func listMethods(_ call: PacketHeader) {
    var type = AuthListResult.none
    switch login.method {
    case .none: break
    case .sasl: type = AuthListResult.sasl
    case .polkit where identity.peer?.uid == 0:
      // The one who could change what polkit says is not asked about.
      if !login.isDone { loggedIn() }
    case .polkit: type = AuthListResult.polkit
    }
    relay.reply(Packets.reply(answering: call, AuthListResult(types: [type])))
  }

  /// Nothing of the client is looked at while a step of it is done elsewhere.
  private func hold() { relay.isHeld = true }
  private func release() { relay.isHeld = broker.isStopping }

  // MARK: SASL

  /// The same words whatever the reason: only the log tells it.
  private func refuseSASL(_ call: PacketHeader, _ reason: String) {
    log[.sasl].warning("\(name): SASL: \(reason)")
    recordRefused(.sasl, reason)
    login.exchange = nil
    login.failures += 1
    replyFailed(call)
    if login.failures >= Login.mostFailures {
      log[.sasl].warning("\(name): SASL: it has failed \(counted(login.failures, "time"))")
      leave()
    }
  }

  private func replyFailed(_ call: PacketHeader) {
    relay.reply(
      Packets.error(
        answering: call, RemoteError(.authenticationFailed, "authentication failed")))
  }

  private func saslInit(_ call: PacketHeader) {
    guard login.method == .sasl, let service = broker.sasl else {
      return replyFailed(call)
    }
    guard !login.isDone, login.exchange == nil else {
      return refuseSASL(call, "begun a second time")
    }
    let exchange = service.exchange(over: login.connection)
    login.exchange = exchange
    login.hasStarted = false
    hold()
    login.job = service.workshop.run(
      { exchange.begin() },
      tell: { [weak self] result in
        guard let self, phase != .over else { return }
        login.job = nil
        release()
        switch result {
        case .success(let mechanisms):
          log[.sasl].info("\(name): SASL: offered \(mechanisms)")
          relay.reply(Packets.reply(answering: call, SASLInitResult(mechanisms: mechanisms)))
        case .failure(let trouble): refuseSASL(call, trouble.description)
        }
        settle()
      })
  }

  private func saslStep(_ call: PacketHeader, _ data: [UInt8]?, choosing mechanism: String?) {
    guard login.method == .sasl, let service = broker.sasl else {
      return replyFailed(call)
    }
    guard !login.isDone, let exchange = login.exchange, login.hasStarted == (mechanism == nil)
    else { return refuseSASL(call, "a step out of its order") }
    login.hasStarted = true
    if let mechanism { log[.sasl].info("\(name): SASL: chose '\(mechanism.prefix(64))'") }
    hold()
    login.job = service.workshop.run(
      { mechanism.map { exchange.start($0, data) } ?? exchange.step(data) },
      tell: { [weak self] progress in
        guard let self, phase != .over else { return }
        login.job = nil
        release()
        saslProgressed(call, exchange, progress, service)
        settle()
      })
  }

  private func saslProgressed(
    _ call: PacketHeader, _ exchange: SASLExchange, _ progress: SASLExchange.Progress,
    _ service: SASLService
  ) {
    switch progress {
    case .goesOn(let words):
      relay.reply(
        Packets.reply(
          answering: call, SASLStepResult(isComplete: false, data: SASLData(words))))
    case .failed(let trouble):
      refuseSASL(call, "'\(exchange.mechanism.prefix(64))' failed: \(trouble)")
    case .done(let words, let user, let strength):
      guard service.admits(user) else {
        return refuseSASL(call, "user '\(user)' is not in sasl_allowed_username_list")
      }
      guard strength == 0 || relay.unroutedFromClient == 0 else {
        return finish(
          because: "it went on in the clear behind the last step of its authentication", .warning)
      }
      log[.sasl].info(
        "\(name): SASL: is user '\(user)' by \(exchange.mechanism), protection \(strength)")
      identity.saslUser = user
      login.exchange = nil
      loggedIn()
      guard countSubject() else {
        if let refusal = login.refusal { _ = refuseForGood(call, refusal) }
        return
      }
      relay.reply(
        Packets.reply(
          answering: call, SASLStepResult(isComplete: true, data: SASLData(words))))
      // The reply goes out as it is, and everything behind it encoded.
      if strength > 0 { login.transport?.switchOn(exchange, clear: relay.waitingForClient) }
    }
  }

  // MARK: polkit

  private func askPolkit(_ call: PacketHeader) {
    guard login.method == .polkit, !login.isDone, let polkit = broker.polkit else {
      relay.reply(Packets.error(answering: call, .unset))
      return
    }
    guard let peer = identity.peer, peer.pid > 0, let startTime = peer.startTime else {
      log[.polkit].warning("\(name): polkit: the process is not known, or is gone")
      relay.reply(
        Packets.error(
          answering: call,
          RemoteError(.authenticationFailed, domain: .polkit, "the calling process is not known")))
      return
    }
    let action = isReadOnlyListener ? "org.libvirt.unix.monitor" : "org.libvirt.unix.manage"
    hold()
    login.check = polkit.check(
      PolkitSubject(pid: peer.pid, startTime: startTime, uid: peer.uid), action: action
    ) { [weak self] verdict in
      guard let self, phase != .over else { return }
      login.check = nil
      release()
      polkitAnswered(call, action, verdict)
      settle()
    }
  }

  private func polkitAnswered(_ call: PacketHeader, _ action: String, _ verdict: PolkitVerdict) {
    if verdict == .granted {
      log[.polkit].info("\(name): polkit: granted \(action)")
      loggedIn()
      relay.reply(Packets.reply(answering: call, AuthPolkitResult(complete: 1)))
      return
    }
    log[.polkit].warning("\(name): polkit: \(action): \(verdict)")
    recordRefused(.polkit, "\(action): \(verdict)")
    relay.reply(Packets.error(answering: call, verdict.error(action)))
  }
}

extension Broker {
  /// Says at start what clients of a listener will be asked for, and whether they can do it at all.
  func describeLogin(at listener: Listener) {
    guard listener.settings.authentication == .sasl, let sasl else { return }
    var connection = SASLConnection(cover: .local)
    if listener.settings.isTLS {
      connection.cover = .tls(bits: 128)
    } else if !listener.settings.isUNIX {
      connection.cover = .none
    }
    switch sasl.offered(over: connection) {
    case .success(let mechanisms): log[.sasl].info("SASL on \(listener.name): \(mechanisms)")
    case .failure(let trouble):
      log[.sasl].warning("SASL on \(listener.name): nobody can come in: \(trouble)")
    }
  }
}
