// The upstream connections of a session, from opening to close or loss.

extension Session {
  mutating func addUpstream(for driver: Driver?) -> Int {
    let id = nextUpstream()
    upstreams.append(Upstream(id: id, driver: driver, deadline: now + settings.openSeconds))
    return id
  }

  // MARK: Routes

  /// Finds the route for a driver. A call of the client waits for it.
  mutating func findRoute(for driver: Driver) {
    guard case .open(let main) = state, let target = self.main?.target else {
      return add(
        .route(driver, .none(RemoteError(.internalError, .hypervisorNotOpen))))
    }
    let isOwn = !target.servesAll && driver != .hypervisor && driver != .proxy
    guard isOwn else { return add(.route(driver, .upstream(main, isLasting: true))) }
    if let there = upstreams.first(where: { $0.driver == driver && $0.isAttached }) {
      return add(.route(driver, .upstream(there.id, isLasting: true)))
    }
    let id = addUpstream(for: driver)
    add(.connectDriver(upstream: id, driver, main: main, isReadOnly: isReadOnly))
  }

  // MARK: Events

  /// Handles an event of an upstream. Events of a removed upstream are ignored.
  mutating func upstream(_ id: Int, _ event: UpstreamEvent) {
    guard let index = upstreams.firstIndex(where: { $0.id == id }) else { return }
    let upstream = upstreams[index]
    switch event {
    case .located(let target):
      upstreams[index].target = target
      if upstream.driver == nil { opened = target }
      upstreams[index].state = .connecting
    case .unavailable(let error): unavailable(upstream, error)
    case .attached(let carriesDescriptors):
      upstreams[index].isAttached = true
      upstreams[index].carriesDescriptors = carriesDescriptors
      if let driver = upstream.driver { add(.route(driver, .upstream(id, isLasting: true))) }
    case .connected:
      guard upstream.state == .connecting else { return }
      call(index, Remote.authList, then: .listingMethods)
    case .failed(let error): failed(upstream, error)
    case .answered(let reply, let body):
      if reply.status == .ok {
        answered(index, body)
      } else {
        refused(index, reply, body)
      }
    case .ended(let end, let reason, let dependents): ended(upstream, end, reason, dependents)
    case .sasl(let answer): saslAnswered(index, answer)
    case .toSurvey(let objects): survey(index, objects)
    case .missedUnknown: missedUnknown(index)
    }
  }

  /// No such daemon is available. The driver's calls then go to the daemon that the client opened, because it may serve
  /// them too. The next call searches again.
  private mutating func unavailable(_ upstream: Upstream, _ error: RemoteError) {
    if upstream.reopening != nil { return attemptFailed(upstream) }
    upstreams.removeAll { $0.id == upstream.id }
    if let driver = upstream.driver {
      guard case .open(let main) = state else {
        return add(.route(driver, .none(Session.closedError)))
      }
      return add(.route(driver, .upstream(main, isLasting: false)))
    }
    refuseOpening(of: upstream.id, error)
  }

  /// The upstream that CONNECT_OPEN led to is not available.
  private mutating func refuseOpening(of id: Int, _ error: RemoteError) {
    guard case .opening(let serial, let main) = state, main == id else { return }
    state = .connected
    opened = nil
    refuse(Session.header(Remote.connectOpen, serial), error)
  }

  static func header(_ procedure: Int32, _ serial: UInt32) -> PacketHeader {
    PacketHeader(procedure: procedure, kind: .call, serial: serial)
  }

  /// The upstream could not be opened. The calls that wait for it fail with this error.
  private mutating func failed(_ upstream: Upstream, _ error: RemoteError) {
    if upstream.reopening != nil { return attemptFailed(upstream) }
    if let target = upstream.target {
      log(.upstream, .cannotOpenAt, [target.uri, target.path, error.cause])
    } else {
      log(.upstream, .cannotOpen, [upstream.name, error.cause])
    }
    add(.note(.upstreamFailed))
    lose(upstream.id, error)
  }

  mutating func openTimeUp(_ upstream: Upstream) {
    if let reopening = upstream.reopening { return giveUp(upstream, reopening) }
    // Whole seconds, rounded up.
    let whole = Int(settings.openSeconds)
    let seconds = Double(whole) < settings.openSeconds ? whole + 1 : whole
    failed(
      upstream,
      RemoteError(.operationFailed, .backendTimeout, [upstream.name, seconds]))
  }

  mutating func lose(_ id: Int, _ error: RemoteError, closedEvent: Bool = false) {
    guard let index = upstreams.firstIndex(where: { $0.id == id }) else { return }
    let upstream = upstreams.remove(at: index)
    add(.remove(upstream: id, error, closedEvent: closedEvent))
    // The call that the upstream was opened for still waits for its route.
    if let driver = upstream.driver, !upstream.isAttached { add(.route(driver, .none(error))) }
    refuseOpening(of: id, error)
  }

  private static let closedError = RemoteError(.internalError, .clientSocketClosed)

  /// The upstream's connection is over.
  private mutating func ended(
    _ upstream: Upstream, _ end: LinkEnd, _ reason: Message, _ dependents: Dependents
  ) {
    if case .closing = state { return closed(upstream.id) }
    if upstream.reopening != nil { return attemptFailed(upstream) }
    let message = Message(.upstreamLost, [upstream.name, reason])
    add(.note(.upstreamLost))
    // EIO, as libvirt's client itself reports it.
    let error = RemoteError(.systemError, message, int1: 5)
    if mayReopen(upstream, end, dependents) {
      return reopen(upstream, error, reason, dependents)
    }
    log(.upstream, message)
    lost(upstream, error, registrations: dependents.registrations)
  }

  /// The daemon is gone for this client. Without the one that it opened, and without one that it expects events of, its
  /// connection ends: a client that asks its library whether the connection is alive must see a closed connection, as
  /// without the broker.
  mutating func lost(
    _ upstream: Upstream, _ error: RemoteError, registrations: [Registration]
  ) {
    let isMain = upstream.driver == nil
    lose(upstream.id, error, closedEvent: isMain)
    guard isMain || !registrations.isEmpty else { return }
    loseAll(error)
  }

  /// The client's connection drains and ends.
  mutating func loseAll(_ error: RemoteError) {
    guard case .open = state else { return }
    for upstream in upstreams {
      lose(upstream.id, error, closedEvent: upstream.driver == nil)
    }
    state = .lost(Drain(sent: traffic.sentToClient, lookAt: now + Session.closeSeconds))
    add(.discardClient)
  }

  // MARK: Opening

  /// The daemon's answer to the step under way.
  private mutating func answered(_ index: Int, _ body: [UInt8]) {
    let upstream = upstreams[index]
    switch upstream.state {
    case .listingMethods:
      let types = body.withUnsafeBytes { (try? AuthListResult(payload: $0))?.types } ?? []
      switch types.first {
      case AuthListResult.none, nil: open(index)
      case AuthListResult.polkit: call(index, Remote.authPolkit, then: .askingPolkit)
      case AuthListResult.sasl where upstream.target?.hasCredentials == true:
        call(index, Remote.authSASLInit, then: .listingMechanisms)
      default:
        failed(
          upstream,
          RemoteError(.authenticationUnavailable, .backendRequiresSASL, [upstream.name]))
      }
    case .askingPolkit: open(index)
    case .listingMechanisms:
      guard let offer = body.withUnsafeBytes({ try? SASLInitResult(payload: $0) }) else {
        return failSASL(upstream, Message(.upstreamMechanismsInvalid))
      }
      upstreams[index].state = .talkingSASL(isDone: false, isSatisfied: false)
      add(.upstreamSASL(upstream: upstream.id, .start(mechanisms: offer.mechanisms)))
    case .talkingSASL(let isDone, _):
      guard let result = body.withUnsafeBytes({ try? SASLStepResult(payload: $0) }) else {
        return failSASL(upstream, Message(.upstreamAnswerInvalid))
      }
      upstreams[index].state = .talkingSASL(isDone: isDone, isSatisfied: result.isComplete)
      add(
        .upstreamSASL(
          upstream: upstream.id,
          result.isComplete && isDone ? .accept : .step(result.data.bytes)))
    case .opening:
      guard let target = upstream.target, target.isRemote else {
        upstreams[index].state = .awaitingNames
        return tellIdentity(index)
      }
      recognise(index, target.marks)
    case .recognising(let rest):
      let result = body.withUnsafeBytes { try? FeatureResult(payload: $0) }
      guard result?.supported != 1 else {
        return failed(
          upstream,
          RemoteError(
            .configurationUnsupported, .leadsBack, [upstream.target?.path ?? ""]))
      }
      recognise(index, rest)
    case .identifying: isOpen(index)
    case .registering(let rest): registeredAgain(index, rest, body)
    case .surveying, .ready: listed(index, body)
    case .closing: closed(upstream.id)
    // No call of the broker's own is under way in these states, so the relay reports no reply.
    case .resting, .locating, .connecting, .awaitingNames, .settling: break
    }
  }

  private mutating func refused(_ index: Int, _ reply: PacketHeader, _ body: [UInt8]) {
    let upstream = upstreams[index]
    let error =
      body.withUnsafeBytes { try? RemoteError(payload: $0) }
      ?? RemoteError(
        .rpc, .backendRefusedProcedure,
        [upstream.target?.daemon ?? "the backend", reply.procedure])
    switch upstream.state {
    // The daemon is older than authentication.
    case .listingMethods where error.code == .noSupport || error.code == .rpc: open(index)
    case .recognising(let rest): recognise(index, rest)
    // Drivers without access control, and daemons before 5.8, do not support it.
    case .identifying where error.code == .noSupport || Session.isUnknownProcedure(error):
      isOpen(index)
    case .listingMechanisms, .talkingSASL:
      failSASL(upstream, Message(.upstreamSASLRefused, [error.cause]))
    case .closing: closed(upstream.id)
    case .registering: registrationRefused(upstream, error)
    case .surveying, .ready: listed(index, nil)
    default: failed(upstream, error)
    }
  }

  private static func isUnknownProcedure(_ error: RemoteError) -> Bool {
    error.code == .rpc && (error.message ?? "").hasPrefix("unknown procedure")
  }

  private mutating func open(_ index: Int) {
    call(
      index, Remote.connectOpen,
      ConnectOpenArguments(
        name: upstreams[index].target?.uri ?? "",
        flags: isReadOnly ? ConnectOpenArguments.readOnly : 0), then: .opening)
  }

  /// Checks for a loop: whether the other host is a broker that the client has come through. Only such a broker
  /// supports the feature `mark`. After the last mark the upstream is open.
  private mutating func recognise(_ index: Int, _ marks: [Int32]) {
    guard let mark = marks.first else { return isOpen(index) }
    call(
      index, Remote.connectSupportsFeature, FeatureArguments(feature: mark),
      then: .recognising(rest: Array(marks.dropFirst())))
  }

  mutating func namesKnown(_ names: UnixNames) {
    identity.names = names
    add(.identityChanged)
    for index in upstreams.indices { tellIdentity(index) }
  }

  /// Sends the client's identity to the daemon, once the upstream awaits the names and the identity is complete.
  private mutating func tellIdentity(_ index: Int) {
    guard upstreams[index].state == .awaitingNames, identity.isComplete else { return }
    call(
      index, Remote.connectSetIdentity, SetIdentityArguments(parameters: identity.parameters),
      then: .identifying)
  }

  private mutating func isOpen(_ index: Int) {
    upstreams[index].state = .ready
    let upstream = upstreams[index]
    if upstream.reopening != nil { return restore(index) }
    add(.openUpstream(upstream.id))
    add(.note(.upstreamOpened))
    if let target = upstream.target {
      log(
        .upstream, .upstreamOpened, [upstream.name, target.uri],
        at: target.isRemote ? .info : .debug)
    }
    guard case .opening(let serial, let main) = state, main == upstream.id else { return }
    state = .open(main: main)
    add(.beginRelaying)
    reply(Session.header(Remote.connectOpen, serial))
  }

  // MARK: The broker's own login

  private mutating func saslAnswered(_ index: Int, _ answer: UpstreamSASLAnswer) {
    let upstream = upstreams[index]
    guard case .talkingSASL(_, let isSatisfied) = upstream.state else { return }
    switch answer {
    case .starts(let mechanism, let words, let isDone):
      call(
        index, Remote.authSASLStart,
        SASLStartArguments(mechanism: mechanism, data: SASLData(words)),
        then: .talkingSASL(isDone: isDone, isSatisfied: false))
    case .says where isSatisfied: add(.upstreamSASL(upstream: upstream.id, .accept))
    case .says(let words, let isDone):
      call(
        index, Remote.authSASLStep, SASLData(words),
        then: .talkingSASL(isDone: isDone, isSatisfied: false))
    case .accepted: open(index)
    case .failed(let reason): failSASL(upstream, reason)
    }
  }

  /// The reason is only logged, because it may concern the broker's own credentials.
  private mutating func failSASL(_ upstream: Upstream, _ reason: Message) {
    let path = upstream.target?.path ?? ""
    log(.upstream, .upstreamSASLFailed, [path, reason])
    failed(upstream, RemoteError(.authenticationFailed, .upstreamLoginFailed, [path]))
  }

  // MARK: Closing

  /// Closes the upstreams in order, each behind the client's packets for it. Then it answers the client and drains.
  mutating func closeNext() {
    guard case .closing(let serial, _) = state else { return }
    while let index = upstreams.indices.first {
      if upstreams[index].state == .ready {
        // The answer to a list that was asked for comes first.
        guard upstreams[index].survey.isEmpty else { return }
        return call(index, Remote.connectClose, behindClient: true, then: .closing)
      }
      if upstreams[index].state == .closing { return }
      lose(upstreams[index].id, Session.closedError)
    }
    leave()
    reply(Session.header(Remote.connectClose, serial))
  }

  /// The upstream has closed.
  private mutating func closed(_ id: Int) {
    lose(id, Session.closedError)
    closeNext()
  }

  mutating func closeTimeUp() {
    for upstream in upstreams {
      log(.upstream, .closeNotConfirmed, [upstream.target?.daemon ?? "a backend"])
      lose(upstream.id, Session.closedError)
    }
    closeNext()
  }

  // MARK: Calls of the broker's own

  private mutating func call(
    _ index: Int, _ procedure: Int32, behindClient: Bool = false, then state: Upstream.State
  ) {
    let header = Session.header(procedure, upstreams[index].nextSerial())
    call(index, header, Packets.make(header), behindClient: behindClient, then: state)
  }

  private mutating func call(
    _ index: Int, _ procedure: Int32, _ body: some XDRBody, then state: Upstream.State
  ) {
    let header = Session.header(procedure, upstreams[index].nextSerial())
    call(index, header, Packets.make(header, body), behindClient: false, then: state)
  }

  mutating func call(
    _ index: Int, _ header: PacketHeader, _ packet: [UInt8], behindClient: Bool = false,
    mayBeLarge: Bool = false, then state: Upstream.State
  ) {
    upstreams[index].state = state
    add(
      .call(
        upstream: upstreams[index].id, serial: header.serial, packet: packet,
        behindClient: behindClient, mayBeLarge: mayBeLarge))
  }
}
