// The host of a simulated session: carries out the session's actions and reports what comes of them.
@testable import Streams

extension SessionWorld: SessionHost {
  func perform(_ action: SessionAction) {
    if isOver { report("\(action) behind the end") }
    mix(action)
    switch action {
    case .connect(let id, let uri, let isReadOnly): connect(id, to: uri, isReadOnly)
    case .connectDriver(let id, let driver, let main, let isReadOnly):
      coverage?.note(session, .needsRoute(driver))
      connect(id, to: driver, beside: main, isReadOnly)
    case .remove(let id, _, let closedEvent): removed(id, closedEvent: closedEvent)
    case .park(let id, let successor, _): parked(id, successor)
    case .reconnect(let id): reconnect(id)
    case .closeSending: closeSending()
    case .sasl(let step): sasl(step)
    case .forgetSASL: saslService = .idle
    case .protectClient:
      if proven.saslUser == nil { report("protection before SASL succeeded") }
    case .askPolkit(let action): askPolkit(action)
    case .upstreamSASL(let id, let step): upstreamSASL(id, step)
    case .identityChanged:
      if session.identity != proven { report("the session believes in \(session.identity)") }
    case .log(let log):
      if log.message.has(.missedUnknown) { checks.hasMissedUnknown = true }
    case .note(let note): noted(note)
    case .end(let reason):
      if reason == Message(.idleWhileDraining) { checkIdleEnd() }
      isOver = true
      ended()
    case .send, .beginRelaying, .route, .call, .openUpstream, .registeredAgain, .beginSurvey,
      .surveyed,
      .resumeUpstream, .discardClient:
      report("the driver passed on \(action)")
    }
  }

  func message(for end: LinkEnd, upstream: Int?) -> Message {
    if upstream == nil {
      checks.isEndedFromOutside = true
      if end == .brokenOff { checks.isBrokenOff = true }
    }
    let reason = Message(.simulated)
    coverage?.note(
      session,
      upstream.map { .upstream($0, .ended(end, reason, Dependents())) } ?? .clientEnded(end, reason)
    )
    return reason
  }

  private func ended() {
    checks.waitedAtEnd = driver.relay.waitingForClient
    for connection in connections where !connection.isGone {
      connection.backend?.removedAfter = connection.backend?.socket.sends
    }
    driver.clear(at: now)
    if let broker, let arrival { broker.departed(self, arrival) }
  }

  private func mix(_ action: SessionAction) {
    loop.trace.mix(action.name)
    loop.tell("client \(tag), \(session.state.name): does \(action.name)")
    switch action {
    case .connect(let id, _, let isReadOnly), .connectDriver(let id, _, _, let isReadOnly):
      loop.trace.mix(UInt64(id) << 1 | (isReadOnly ? 1 : 0))
    case .remove(let id, _, _), .upstreamSASL(let id, _), .reconnect(let id):
      loop.trace.mix(UInt64(id))
    case .park(let id, let successor, _): loop.trace.mix(UInt64(id) << 32 | UInt64(successor))
    case .end(let reason): loop.trace.mix(reason.text)
    default: break
    }
  }

  /// An event of the host's own goes to the session.
  func note(_ event: SessionEvent) {
    loop.trace.mix(event.name)
    loop.tell("client \(tag), \(session.state.name): hears \(event.name)")
    // Within a turn other events may be handled first.
    if !isInTurn { coverage?.note(session, event) }
    switch event {
    case .settings(let settings):
      if self.settings.reconnect == .never { client.mayLoseAwaited() }
      if settings.reconnect == .always { client.mayMissEvents = true }
      self.settings = settings
      checks.note(settings.keepAlive)
      checks.settingsChangedAt = now
    case .drain: checks.drainsSince = checks.drainsSince ?? now
    case .stop: checks.stopsSince = checks.stopsSince ?? now
    case .turnAway: turnedAway()
    case .end: checks.isEndedFromOutside = true
    default: break
    }
  }

  func turnedAway() {
    checks.turnedAwayAt = now
    client.excuses.isTurnedAway = true
  }

  private func noted(_ note: SessionNote) {
    switch note {
    case .loggedIn:
      if plan.client.authentication == .polkit, proven.peer?.uid == 0 { checks.isLoggedIn = true }
      if !checks.isLoggedIn { report("it counts as logged in without a proof") }
      if let broker, let arrival { broker.authenticated(arrival) }
    case .turnedAway: if let broker, let arrival { broker.uncount(arrival) }
    case .upstreamOpened:
      guard case .open(let main) = session.state else { return }
      checks.openMain = main
      client.excuses.hasOpened = true
    case .upstreamReopened:
      checks.reopenings += 1
      if client.callbacks.values.contains(where: { $0.event == 0 }), !client.mayMissEvents {
        checks.followers += 1
      }
    case .keepAliveTimeout: checkSilence()
    default: break
    }
  }

  // MARK: Upstreams

  private func connect(_ id: Int, to uri: String?, _ isReadOnly: Bool) {
    if !checks.isLoggedIn { report("an upstream before authentication") }
    let opening = client.awaited.values.first { SessionClientModel.uri($0.header.serial) == uri }
    guard let opening, case .open(let wantsReadOnly) = opening.form else {
      return report("an upstream without a CONNECT_OPEN")
    }
    checks.isReadOnly = plan.client.isReadOnly || wantsReadOnly
    if isReadOnly != checks.isReadOnly { report("an upstream with read-only \(isReadOnly)") }
    let connection = add(id, nil, opening.header.serial, isReadOnly: checks.isReadOnly)
    begin(
      connection, plan.target, isThere: isThere(plan.target.path) && reserveHelper(for: connection))
  }

  private func connect(_ id: Int, to driver: Driver, beside main: Int, _ isReadOnly: Bool) {
    if isReadOnly != checks.isReadOnly { report("an upstream with read-only \(isReadOnly)") }
    if plan.target.servesAll || driver == .hypervisor || driver == .proxy {
      report("\(driver) has no daemon of its own")
    }
    if connection(main)?.backend?.stage != .ready, connection(main)?.lostAt == nil {
      report("a driver's daemon beside no main one")
    }
    let connection = add(id, driver, nil, isReadOnly: checks.isReadOnly)
    let target = UpstreamTarget(
      daemon: "virt\(driver)d", path: SessionWorld.path(of: driver), uri: "\(driver):///target",
      servesAll: false
    )
    begin(connection, target, isThere: plan.own.contains(driver) && isThere(target.path, onceIn: 6))
  }

  /// The session keeps the place of an upstream for another connection to its daemon.
  private func parked(_ id: Int, _ successor: Int) {
    guard let connection = connection(id), let target = connection.target else {
      return report("upstream \(id) is parked, which the host does not have")
    }
    // The relay learns of it after its host.
    let wasOpen =
      driver.slot(of: id).flatMap { driver.relay.upstreams[$0] }.map { !$0.fromClient.isHeld }
      ?? false
    checkParking(of: connection, wasOpen: wasOpen)
    let next = add(
      successor, connection.driver, nil, isReadOnly: connection.isReadOnly,
      since: wasOpen ? now : connection.since,
      seconds: wasOpen ? settings.reconnectSeconds : connection.openSeconds)
    next.target = target
    next.lostAt = wasOpen ? now : connection.lostAt
    connection.isGone = true
    releaseHelper(of: connection)
    connection.backend?.removedAfter = connection.backend?.socket.sends
    if wasOpen { client.lost() }
    if settings.reconnect == .always { client.mayMissEvents = true }
    if checks.openMain == id { checks.openMain = successor }
    disturb(onceIn: 3)
  }

  private func reconnect(_ id: Int) {
    guard let connection = connection(id), !connection.isGone, let target = connection.target,
      connection.backend == nil, connection.lostAt != nil
    else { return report("upstream \(id) is not parked") }
    begin(connection, target, isThere: isThere(target.path) && reserveHelper(for: connection))
  }

  static func path(of driver: Driver) -> String { "/run/\(driver)" }

  private func isThere(_ path: String, onceIn n: Int = 12) -> Bool {
    broker?.daemons[path].map { $0.isUp && !fails(3 * n) } ?? !fails(n)
  }

  /// Another host is reached through programs, of which there are so many in a broker.
  private func reserveHelper(for connection: Connection) -> Bool {
    guard let broker, let arrival, plan.target.isRemote else { return true }
    let (used, own) = (broker.helpers.used, broker.helpers.used(by: arrival.origin))
    let count = random.pick(1...3)
    let isReserved = broker.helpers.tryReserve(count, for: arrival.origin)
    broker.checkHelpers(arrival.origin, count, isReserved: isReserved, used: used, own: own)
    guard isReserved else {
      arrival.wasStarved = true
      return false
    }
    arrival.helpers += count
    connection.helpers = count
    return true
  }

  private func releaseHelper(of connection: Connection) {
    guard let broker, let arrival, connection.helpers > 0 else { return }
    arrival.helpers -= connection.helpers
    broker.helpers.release(connection.helpers, for: arrival.origin)
    connection.helpers = 0
  }

  private func add(
    _ id: Int, _ driver: Driver?, _ openSerial: UInt32?, isReadOnly: Bool, since: Double? = nil,
    seconds: Double? = nil
  ) -> Connection {
    if connections.contains(where: { $0.id == id }) { report("upstream \(id) a second time") }
    let connection = Connection(
      id: id, driver: driver, openSerial: openSerial, since: since ?? now,
      openSeconds: seconds ?? settings.openSeconds, isReadOnly: isReadOnly)
    connections.append(connection)
    return connection
  }

  /// The way to a daemon: found or not, made or not, at once or later.
  private func begin(_ connection: Connection, _ target: UpstreamTarget, isThere: Bool) {
    let id = connection.id
    connection.target = target
    let error = RemoteError(.systemError, "simulated", int1: 111)
    guard isThere else { return answerLater(.post(.upstream(id, .unavailable(error)))) }
    let backend = makeBackend(connection, target)
    connection.backend = backend
    broker?.daemons[target.path]?.accepted(backend, of: self)
    var delays = [0.0, 0.0, 0.0]
    if !random.once(in: 3) { delays = delays.map { _ in random.once(in: 2) ? 0 : seconds(0, 0.5) } }
    if fails(20) { delays[random.pick(0...2)] = seconds(1, 30) }
    var jobs: [Job] = [
      .post(.upstream(id, .located(target))), .attach(id), .connected(id),
    ]
    if fails(15) {
      let step = random.pick(1...2)
      jobs[step...] = [.post(.upstream(id, .failed(error)))]
    }
    var delay = 0.0
    for (step, job) in jobs.enumerated() {
      delay += delays[step]
      // What is done at once is reported while the session's action is carried out.
      if delay == 0 { execute(job) } else { schedule(job, in: delay) }
    }
  }

  private func makeBackend(
    _ connection: Connection, _ target: UpstreamTarget
  ) -> SessionBackendModel {
    var methods: [SessionBackendModel.Method] = [.none, .none, .polkit, .old]
    if target.isRemote { methods = target.hasCredentials ? [.none, .sasl, .sasl] : [.none] }
    if fails(12) { methods = target.hasCredentials ? [.refused] : [.refused, .sasl] }
    let expectation = SessionBackendModel.Expectation(
      target: target, tag: tag,
      isMetered: broker.map { !$0.plan.isFaultless || $0.plan.rates != [0, 0, 0] } ?? false,
      driver: connection.driver, isReadOnly: connection.isReadOnly,
      ownFeatures: [8, 10, 14, 15, plan.client.mark])
    let backend = SessionBackendModel(
      id: connection.id, expectation, method: methods[random.pick(0...methods.count - 1)],
      saslSteps: random.pick(1...3), domains: domains, seed: random.next())
    backend.socket.capacity = random.pick(100...3000)
    backend.socket.isSmooth = random.once(in: 4)
    backend.socket.carriesDescriptors = !target.isRemote
    if !target.isRemote { backend.socket.pipeRoom = 100 + backend.socket.capacity % 900 }
    return backend
  }

  func attach(_ id: Int) {
    guard let connection = connection(id), !connection.isGone, let backend = connection.backend
    else { return }
    note(.upstream(id, .attached(carriesDescriptors: backend.socket.carriesDescriptors)))
    if isInTurn {
      connection.slot = driver.attach(id, backend.socket, at: now)
    } else {
      turn { connection.slot = driver.attach(id, backend.socket, at: now) }
    }
  }

  private func removed(_ id: Int, closedEvent: Bool) {
    guard let connection = connection(id), !connection.isGone else {
      return report("upstream \(id) is removed, which the host does not have")
    }
    if closedEvent, connection.driver != nil { report("a close event for a driver's daemon") }
    checkRemoval(of: connection)
    connection.isGone = true
    releaseHelper(of: connection)
    connection.backend?.removedAfter = connection.backend?.socket.sends
    client.excuses.isUpstreamRemoved = true
    if let serial = connection.openSerial { client.excuses.refusedOpens.insert(serial) }
    if connection.driver == nil, checks.openMain == id { mainIsLost(connection) }
  }

  /// The backend that the client opened is gone, and the session is not closing.
  private func mainIsLost(_ connection: Connection) {
    checkLoss(of: connection)
    switch session.state {
    case .closing, .leaving, .over: break
    default: checks.lostSince = checks.lostSince ?? now
    }
  }

  private func closeSending() {
    if checks.lostSince == nil { report("half-closed with its backend alive") }
    if driver.relay.waitingForClient > 0 { report("half-closed before everything was sent") }
    if checks.isHalfClosed { report("half-closed twice") }
    checks.isHalfClosed = true
    if random.once(in: 4) { return }
    schedule(.clientCloses, in: seconds(0, 3))
  }

  /// An answer of a service. For an upstream that is gone it may come all the same.
  func postAnswer(_ event: SessionEvent) {
    switch event {
    case .sasl(let answer): return saslAnswers(answer)
    case .polkit(let answer):
      if answer == .granted { checks.isLoggedIn = true } else { client.excuses.polkitRefusals += 1 }
    case .namesKnown(let names): proven.names = names
    case .upstream(let id, let event):
      guard let connection = connection(id) else { return }
      if case .unavailable = event, !connection.isGone { unavailable(connection) }
      if case .failed = event { connection.hasFailed = true }
      if case .sasl(let answer) = event {
        connection.hasSASLStep = false
        if case .failed = answer { connection.hasFailed = true }
      }
    default: break
    }
    post(event)
  }

  private func unavailable(_ connection: Connection) {
    connection.isGone = true
    releaseHelper(of: connection)
    if let serial = connection.openSerial { client.excuses.refusedOpens.insert(serial) }
    if let driver = connection.driver { checks.absences[driver, default: 0] += 1 }
  }

  // MARK: Authentication

  private func sasl(_ step: SASLStep) {
    if plan.client.authentication != .sasl { report("SASL without being configured") }
    let isInOrder =
      switch step {
      case .begin: saslService == .idle
      case .start: saslService == .offered
      case .step: saslService == .started
      }
    if !isInOrder { report("SASL step \(step) in state \(saslService)") }
    saslService = step == .begin ? .asked : .stepping
    if fails(10) { return answerLater(.post(.sasl(.failed(Message(.simulated))))) }
    if step == .begin { return answerLater(.post(.sasl(.offers("SIMPLE")))) }
    guard random.once(in: 2) else {
      return answerLater(.post(.sasl(.proceeds(random.once(in: 2) ? nil : [5]))))
    }
    let success = SASLSuccess(
      lastWords: random.once(in: 2) ? nil : [6], user: plan.saslUser, mechanism: "SIMPLE",
      strength: random.once(in: 3) ? 56 : 0)
    let tooMany = fails(10) ? Message(.simulated) : nil
    answerLater(.post(.sasl(.done(success, tooMany: tooMany))))
  }

  private func saslAnswers(_ answer: SASLAnswer) {
    // A service that was told to forget the exchange answers nothing.
    guard saslService == .asked || saslService == .stepping else { return }
    switch answer {
    case .offers: saslService = .offered
    case .proceeds: saslService = .started
    case .failed: client.excuses.saslRefusals += 1
    case .done(let success, let drawn):
      var tooMany = drawn
      if let broker, let arrival {
        var identity = proven
        identity.saslUser = success.user
        tooMany = broker.count(identity, arrival)
      }
      if case .loggingIn = session.state {
        proven.saslUser = success.user
        checks.isLoggedIn = true
        if tooMany != nil { turnedAway() }
      }
      return post(.sasl(.done(success, tooMany: tooMany)))
    }
    post(.sasl(answer))
  }

  private func askPolkit(_ action: String) {
    let wanted = plan.client.isReadOnly ? "monitor" : "manage"
    if action != "org.libvirt.unix." + wanted { report("polkit is asked for \(action)") }
    if proven.peer?.startTime == nil { report("polkit is asked about an unknown process") }
    let refusal = RemoteError(.authenticationCancelled, domain: .polkit, "simulated")
    answerLater(.post(.polkit(fails(4) ? .refused(refusal, Message(.simulated)) : .granted)))
  }

  /// The broker's own login at another host.
  private func upstreamSASL(_ id: Int, _ step: UpstreamSASLStep) {
    guard let connection = connection(id), !connection.isGone, let backend = connection.backend,
      backend.method == .sasl
    else { return report("a login step for upstream \(id)") }
    if connection.hasSASLStep { report("a login step before the answer to the last one") }
    connection.hasSASLStep = true
    if fails(12) { return answerLater(.post(.upstream(id, .sasl(.failed(Message(.simulated)))))) }
    if step != .accept, connection.isLibraryDone {
      return answerLater(.post(.upstream(id, .sasl(.failed(Message(.simulated))))))
    }
    let isLast = backend.saslStep + 1 >= backend.saslSteps
    let isDone = isLast ? random.once(in: 2) : fails(8)
    let answer: UpstreamSASLAnswer =
      switch step {
      case .start: .starts(mechanism: "SIMPLE", [1], isDone: isDone)
      case .step: .says([2], isDone: isDone)
      case .accept: .accepted
      }
    connection.isLibraryDone = isDone
    if step == .accept, backend.saslStep < backend.saslSteps { report("accepted too early") }
    answerLater(.post(.upstream(id, .sasl(answer))))
  }
}
