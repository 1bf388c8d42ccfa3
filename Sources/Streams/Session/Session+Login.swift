// How a client authenticates.

extension Session {
  // MARK: Turning clients away

  /// Turns the client away: the broker answers its next call with the reason, then ends the connection.
  mutating func turnAway(_ refusal: Refusal, _ reason: Message) {
    noteTurnedAway(refusal, reason)
    state = .turnedAway(Session.tooMany(reason), until: now + Session.refusalSeconds)
  }

  private mutating func noteTurnedAway(_ refusal: Refusal, _ reason: Message) {
    log(.client, .turnedAway, [reason])
    add(.note(.refused(refusal, reason)))
    add(.note(.turnedAway))
  }

  private static func tooMany(_ reason: Message) -> RemoteError {
    RemoteError(.operationFailed, .tooManyConnections, [reason])
  }

  /// Drains: the queued packets are sent, then the connection ends.
  mutating func leave() { state = .leaving(until: now + Session.closeSeconds) }

  // MARK: Calls

  /// AUTH_LIST to AUTH_POLKIT.
  mutating func authenticate(_ call: PacketHeader, _ body: [UInt8]) {
    switch call.procedure {
    case Remote.authSASLInit: saslInit(call)
    case Remote.authSASLStart:
      guard let arguments = body.withUnsafeBytes({ try? SASLStartArguments(payload: $0) }) else {
        return refuseBody(call)
      }
      saslStep(call, .start(mechanism: arguments.mechanism, arguments.data.bytes))
    case Remote.authSASLStep:
      guard let data = body.withUnsafeBytes({ try? SASLData(payload: $0) }) else {
        return refuseBody(call)
      }
      saslStep(call, .step(data.bytes))
    case Remote.authPolkit: askPolkit(call)
    default: listMethods(call)
    }
  }

  private mutating func listMethods(_ call: PacketHeader) {
    var type = AuthListResult.none
    switch client.authentication {
    case .none: break
    case .sasl: type = AuthListResult.sasl
    case .polkit where identity.peer?.uid == 0:
      // root could change polkit's answer, so polkit is not asked.
      if !isLoggedIn { loggedIn() }
    case .polkit: type = AuthListResult.polkit
    }
    reply(call, AuthListResult(types: [type]))
  }

  private mutating func loggedIn() {
    state = .connected
    add(.note(.loggedIn))
  }

  /// Moves the login to another step. Its deadline stays the same.
  private mutating func proceed(_ login: Login) {
    guard case .loggingIn(_, let until) = state else { return }
    state = .loggingIn(login, until: until)
  }

  // MARK: SASL

  private mutating func replyFailed(_ call: PacketHeader) {
    refuse(call, RemoteError(.authenticationFailed, .authenticationFailed))
  }

  /// The client receives the same error for every reason. Only the log has the reason.
  private mutating func refuseSASL(_ call: PacketHeader, _ reason: Message) {
    log(.sasl, .saslFailed, [reason])
    add(.note(.refused(.sasl, reason)))
    add(.forgetSASL)
    proceed(.awaited)
    saslFailures += 1
    replyFailed(call)
    guard saslFailures >= Session.mostSASLFailures else { return }
    log(.sasl, .saslTooManyFailures, [saslFailures])
    leave()
  }

  private mutating func saslInit(_ call: PacketHeader) {
    guard client.authentication == .sasl else { return replyFailed(call) }
    guard case .loggingIn(.awaited, _) = state else {
      return refuseSASL(call, Message(.saslBegunTwice))
    }
    proceed(.beginning(call))
    add(.sasl(.begin))
  }

  private mutating func saslStep(_ call: PacketHeader, _ step: SASLStep) {
    guard client.authentication == .sasl else { return replyFailed(call) }
    switch (state, step) {
    case (.loggingIn(.offered, _), .start(let mechanism, _)):
      log(.sasl, .saslChosen, [mechanism.prefix(64)])
    case (.loggingIn(.started, _), .step): break
    default: return refuseSASL(call, Message(.saslStepOutOfOrder))
    }
    proceed(.stepping(call))
    add(.sasl(step))
  }

  mutating func saslAnswered(_ answer: SASLAnswer) {
    switch (state, answer) {
    case (.loggingIn(.beginning(let call), _), .offers(let mechanisms)):
      log(.sasl, .saslOffered, [mechanisms])
      proceed(.offered)
      reply(call, SASLInitResult(mechanisms: mechanisms))
    case (.loggingIn(.stepping(let call), _), .proceeds(let data)):
      proceed(.started)
      reply(call, SASLStepResult(isComplete: false, data: SASLData(data)))
    case (.loggingIn(.stepping(let call), _), .done(let success, let tooMany)):
      saslSucceeded(call, success, tooMany)
    case (.loggingIn(.beginning(let call), _), .failed(let reason)),
      (.loggingIn(.stepping(let call), _), .failed(let reason)):
      refuseSASL(call, reason)
    // The service answers each request once and in kind, and a session that is over ignores the answer.
    default: break
    }
  }

  private mutating func saslSucceeded(
    _ call: PacketHeader, _ success: SASLSuccess, _ tooMany: Message?
  ) {
    guard success.strength == 0 || traffic.unrouted == 0 else {
      return end(Message(.dataBehindSASL))
    }
    log(.sasl, .saslSucceeded, [success.user, success.mechanism, success.strength])
    identity.saslUser = success.user
    add(.identityChanged)
    loggedIn()
    if let tooMany {
      noteTurnedAway(.identity, tooMany)
      refuse(call, Session.tooMany(tooMany))
      return leave()
    }
    reply(call, SASLStepResult(isComplete: true, data: SASLData(success.lastWords)))
    // The reply is sent unprotected, and everything behind it protected.
    if success.strength > 0 { add(.protectClient) }
  }

  // MARK: polkit

  private mutating func askPolkit(_ call: PacketHeader) {
    guard client.authentication == .polkit, case .loggingIn(.awaited, _) = state else {
      return refuse(call, .unset)
    }
    guard let peer = identity.peer, peer.pid > 0, peer.startTime != nil else {
      log(.polkit, .polkitProcessUnknown)
      return refuse(
        call,
        RemoteError(.authenticationFailed, domain: .polkit, .callingProcessUnknown))
    }
    let action = client.isReadOnly ? "org.libvirt.unix.monitor" : "org.libvirt.unix.manage"
    proceed(.askingPolkit(call, action: action))
    add(.askPolkit(action: action))
  }

  mutating func polkitAnswered(_ answer: PolkitAnswer) {
    guard case .loggingIn(.askingPolkit(let call, let action), _) = state else { return }
    switch answer {
    case .granted:
      log(.polkit, .polkitActionGranted, [action])
      loggedIn()
      reply(call, AuthPolkitResult(complete: 1))
    case .refused(let error, let reason):
      proceed(.awaited)
      let message = Message(.polkitActionRefused, [action, reason])
      log(.polkit, message)
      add(.note(.refused(.polkit, message)))
      refuse(call, error)
    }
  }
}
