// What must hold in every simulated session, while it runs and at its end.
@testable import Streams

/// What a simulated session's host has seen of it so far, as far as the checks need it.
struct SessionChecks {
  var isLoggedIn = false
  /// What the upstreams of this client must be.
  var isReadOnly = false
  /// The upstream that the client opened.
  var openMain: Int?
  var turnedAwayAt: Double?
  var stopsSince: Double?
  var drainsSince: Double?
  /// Calls of the client that have reached the relay, and when the last one did.
  var calls: UInt64 = 0
  var calledAt = 0.0
  /// Calls of the client that the relay had looked at by then.
  var callsBeforeStop: UInt64?
  /// The backend that the client opened is gone.
  var lostSince: Double?
  var isHalfClosed = false
  /// The session's state at the end of the last turn.
  var stateName = ""
  var closingSince: Double?
  var leavingSince: Double?
  var heardAt = 0.0
  /// The client was not read.
  var pausedAt = 0.0
  var keepAliveSince: Double?
  var settingsChangedAt = 0.0
  /// The shortest interval so far, and the lowest count.
  private(set) var leastInterval = Int.max
  private(set) var leastCount = Int.max
  /// How often a driver was found to have no daemon of its own: so many of its calls go to the main one.
  var absences: [Driver: Int] = [:]
  /// What had been sent to the client, and when that changed.
  var sent: UInt64 = 0
  var sentAt = 0.0
  /// Events that backends raised while the connection was open.
  var eventsWhileOpen = 0
  /// The client's connection is over, or an administrator ended the session.
  var isEndedFromOutside = false
  /// A backend was lost in the middle of a packet that the client has the beginning of: nothing can follow it.
  var isBrokenOff = false
  var waitedAtEnd = 0
  /// Calls that may be under way.
  var mostRequests = 0
  /// What its client has missed was not known once.
  var hasMissedUnknown = false
  /// Daemons that were lost and came back, and calls that were sent to them again.
  var reopenings = 0
  var repeats = 0
  /// Reopenings for a client that follows the guests' life cycles.
  var followers = 0

  mutating func note(_ keepAlive: KeepAliveSettings) {
    leastCount = min(leastCount, keepAlive.count)
    guard keepAlive.intervalSeconds > 0 else { return }
    leastInterval = min(leastInterval, keepAlive.intervalSeconds)
  }
}

extension SessionWorld {
  /// Timers and the loop may be late by this much.
  private static let slack = 0.1

  func turnEnded() {
    let relay = driver.relay
    if timer != session.deadline { report("the timer is set to \(timer ?? 0)") }
    if relay.isHeld != session.isHeld { report("the relay is not held as the session wants") }
    if relay.isClientPaused { checks.pausedAt = now }
    noteState()
    coverage?.noteTurn(driver)
    if relay.counters.calls != checks.calls {
      checks.calls = relay.counters.calls
      checks.calledAt = now
    }
    if checks.stopsSince != nil { checkStop() }
    if checks.drainsSince != nil { checkDrain() }
    checkBounds()
    if checks.lostSince != nil, !session.isLost, checks.turnedAwayAt == nil {
      report("the session stays in \(session.state) without the backend that the client opened")
    }
    watchRates()
    guard let broker else { return }
    if !broker.hangUpAlarm.isSet, isNotRead { broker.startHangUpLooks() }
    broker.countMemory(self)
  }

  private func noteState() {
    let name = session.state.name
    guard name != checks.stateName else { return }
    checks.stateName = name
    switch session.state {
    case .closing:
      checks.closingSince = now
      disturb(onceIn: 2)
    case .leaving:
      checks.leavingSince = now
      disturb(onceIn: 1)
    case .lost: disturb(onceIn: 2)
    case .turnedAway:
      checks.closingSince = nil
      disturb(onceIn: 3)
    case .loggingIn(.offered, _), .loggingIn(.started, _): disturb(onceIn: 6)
    case .loggingIn: disturb(onceIn: 15)
    default: break
    }
  }

  /// After a stop the session looks at no call any more, and ends as soon as nothing is under way.
  private func checkStop() {
    let calls = driver.relay.counters.calls
    if let before = checks.callsBeforeStop, calls > before { report("a call behind the stop") }
    checks.callsBeforeStop = calls
    switch session.state {
    case .opening, .closing: return
    default: break
    }
    let relay = driver.relay
    if relay.awaitedCount == 0, relay.waitingForClient == 0 {
      report("the session stays in \(session.state) though the broker stops")
    }
  }

  /// A draining broker keeps no client that is idle.
  private func checkDrain() {
    guard case .open = session.state, checks.stopsSince == nil,
      session.upstreams.allSatisfy({ $0.state == .ready }),
      let idleAt = driver.relay.activity.idleAt
    else { return }
    if now > idleAt + SessionWorld.slack { report("idle since \(idleAt), and the broker drains") }
  }

  /// The session ends because its client is idle.
  func checkIdleEnd() {
    let relay = driver.relay
    if checks.drainsSince == nil { report("closed as idle, and the broker does not drain") }
    if !relay.callsUnderWay.isEmpty || relay.waitingForClient > 0 {
      report("closed as idle with \(relay.callsUnderWay.count) calls under way")
    }
    if client.bindings > 0 { report("closed as idle with \(client.bindings) bindings") }
    for connection in connections where !connection.isGone {
      let count = connection.backend?.callbacks.count ?? 0
      if count > 0 { report("closed as idle with \(count) event registrations") }
    }
    if now < checks.calledAt + ClientActivity.quietSeconds - SessionWorld.slack {
      report("closed as idle \(now - checks.calledAt) s after a call")
    }
  }

  /// What waits is bounded, in bytes and in calls.
  private func checkBounds() {
    let relay = driver.relay
    let queues =
      relay.upstreams.indices.count * (relay.hasMeteredStreams ? 2 : 1)
      + relay.upstreams.draining.count + 3
    let bound =
      queues
      * (SessionWorld.watermarks.high + 2 * pool.capacity + SessionWorld.largestWhole + 600)
    if relay.waitingForClient > bound {
      report("\(relay.waitingForClient) bytes wait for the client")
    }
    // One read may end above the watermark, with a packet that waited to be complete.
    let ofOne = SessionWorld.watermarks.high + 2 * pool.capacity + SessionWorld.largestWhole + 600
    for slot in relay.upstreams.indices {
      let bytes = relay.upstreams[slot]?.toClient.queue.bytes ?? 0
      if bytes > ofOne { report("\(bytes) bytes of one upstream wait for the client") }
    }
    checkFlow()
    if relay.waitingForUpstreams > bound {
      report("\(relay.waitingForUpstreams) bytes wait for the upstreams")
    }
    let most = max(relay.maxRequests, checks.mostRequests)
    if relay.awaitedCount > most {
      report("\(relay.awaitedCount) calls are under way, of at most \(most)")
    }
    checks.mostRequests = max(relay.maxRequests, relay.awaitedCount)
    if client.socket.mixedRecords > 0 { report("a record holds bytes of two packets") }
    for connection in connections where (connection.backend?.socket.pipeMistakes ?? 0) > 0 {
      report("bytes have passed the content of a pipe, or the pipe was not open")
    }
  }

  /// What waits for the client waits for its socket, for its rate, or for the rest of a large packet.
  private func checkFlow() {
    let relay = driver.relay
    guard relay.clientEnd == nil, relay.waitingForClient > 0, !relay.client.scheduler.isBlocked,
      relay.nextMeteredTime == nil
    else { return }
    let isMidway = relay.client.scheduler.sendQueues.contains { $0.isMidway && $0.queue.isEmpty }
    if !isMidway { report("\(relay.waitingForClient) bytes for the client wait for nothing") }
  }

  /// Streams that ended in good order have carried every byte.
  func checkConfirmed() {
    for stream in client.confirmed {
      let backend = connections.lazy.compactMap { connection in
        connection.backend?.streams.first { $0.call.serial == stream.serial }
      }.first
      guard let backend else {
        report("stream \(stream.serial) is confirmed, and no daemon has it")
        continue
      }
      if backend.received != stream.sent, !stream.isAborted {
        report("\(backend.received) of \(stream.sent) bytes of stream \(stream.serial) arrived")
      }
      if backend.sent != stream.received {
        report("\(stream.received) of \(backend.sent) bytes of stream \(stream.serial) came")
      }
    }
    client.confirmed = []
  }

  // MARK: Time

  /// Nothing lasts longer than it may.
  func checkClock() {
    guard !isOver else { return }
    if driver.relay.isClientPaused { checks.pausedAt = now }
    if driver.relay.sentToClient != checks.sent {
      checks.sent = driver.relay.sentToClient
      checks.sentAt = now
    }
    if let since = checks.turnedAwayAt, isOverdue(since, 10) { report("turned away, and stays") }
    if let since = checks.leavingSince, checks.turnedAwayAt == nil, isOverdue(since, 5) {
      report("leaving for more than 5 s")
    }
    if let since = checks.lostSince, checks.turnedAwayAt == nil,
      isOverdue(max(since, checks.sentAt), 10)
    {
      report("lost, and stays")
    }
    checkLoginTime()
    checkOpenings()
    checkKeepAlive()
    if let since = checks.closingSince {
      if case .closing = session.state, isOverdue(since, 5) { report("closing for more than 5 s") }
      if isOverdue(since, 10) { report("closed by the client 10 s ago, and stays") }
    }
  }

  private func isOverdue(_ since: Double, _ seconds: Double) -> Bool {
    now > since + seconds + SessionWorld.slack
  }

  private func checkLoginTime() {
    let limit = plan.settings.loginSeconds
    guard !checks.isLoggedIn, checks.turnedAwayAt == nil, checks.leavingSince == nil, limit > 0
    else { return }
    if isOverdue(beganAt, limit) { report("it may take longer than \(limit) s to authenticate") }
  }

  private func checkOpenings() {
    for connection in connections where !connection.isGone {
      switch connection.backend?.stage {
      case .ready, .closing: continue
      default: break
      }
      if isOverdue(connection.since, connection.openSeconds) {
        report("upstream \(connection.id) may take longer than \(connection.openSeconds) s")
      }
    }
  }

  /// A client that asked for keepalive and has been silent for long enough is dropped.
  private func checkKeepAlive() {
    guard let since = checks.keepAliveSince else { return }
    switch session.state {
    case .connected, .opening, .open: break
    default: return
    }
    let keepAlive = settings.keepAlive
    guard keepAlive.intervalSeconds > 0 else { return }
    let begin = max(since, checks.heardAt, checks.pausedAt, checks.settingsChangedAt)
    if isOverdue(begin, Double(keepAlive.intervalSeconds * (keepAlive.count + 1))) {
      report("silent since \(begin), and not dropped")
    }
  }

  /// The session gives its client up for silence.
  func checkSilence() {
    if !client.hasAskedKeepAlive { report("dropped for silence without keepalive") }
    if driver.relay.isClientPaused { report("dropped for silence while it was not read") }
    let least = Double(checks.leastInterval * (checks.leastCount + 1))
    if now - checks.heardAt < least - SessionWorld.slack {
      report("dropped for silence \(now - checks.heardAt) s after it was heard")
    }
  }

  // MARK: Lost daemons

  /// An upstream that was open is parked because its daemon is lost, an attempt to reach the daemon because it failed.
  func checkParking(of connection: Connection, wasOpen: Bool) {
    if settings.reconnect == .never, wasOpen { report("upstream \(connection.id) is not given up") }
    if checks.stopsSince != nil, wasOpen { report("it waits for a daemon though the broker stops") }
    if wasOpen, connection.driver == nil, client.bindings > 0 {
      report("the client is kept, without \(client.bindings) things that it had at the daemon")
    }
    if wasOpen, connection.driver == nil, settings.reconnect == .safe, client.expectsStateless {
      report("the client is kept, and may miss events")
    }
    guard connection.isConnected, !connection.hasFailed, let backend = connection.backend else {
      if wasOpen { report("upstream \(connection.id) was open and not connected") }
      return
    }
    let isRefused = backend.stage == .refused || !wasOpen && backend.method == .sasl
    if !backend.isDead, wasOpen || !isRefused {
      report("upstream \(connection.id) is parked with its daemon alive")
    }
  }

  /// The client loses its connection because its daemon is gone. It could have been kept, unless something was hidden
  /// from it.
  func checkLoss(of connection: Connection) {
    guard session.isLost, settings.reconnect != .never, checks.stopsSince == nil,
      !client.hasSentBinding, !checks.isBrokenOff
    else { return }
    let isOverdue = now > connection.since + connection.openSeconds - 0.01
    if connection.lostAt == nil || !isOverdue {
      report("the client is given up, though nothing would be hidden from it")
    }
  }

  /// A call that may change something reaches one daemon, any other at most two.
  private func checkRepeats(of call: PacketHeader) {
    let arrivals = connections.reduce(0) { sum, connection in
      sum + (connection.backend?.clientCalls.count { $0.serial == call.serial } ?? 0)
    }
    let mayRepeat = CallEffect.of(call.program, call.procedure) == .readsOnly
    if arrivals == 2 { checks.repeats += 1 }
    if arrivals > (mayRepeat ? 2 : 1) { report("call \(call.serial) arrived \(arrivals) times") }
  }

  // MARK: Packets

  /// A call of the client has arrived at a backend.
  func checkArrival(of call: PacketHeader, at connection: Connection) {
    if !checks.isLoggedIn { report("a call was passed on before authentication") }
    if !client.excuses.hasOpened { report("a call was passed on before CONNECT_OPEN") }
    let form = client.awaited[call.serial]?.form
    guard form == .ordinary || form == .stream else {
      return report("call \(call.serial) was passed on and answered")
    }
    checkRepeats(of: call)
    guard connection.driver == nil, connection.lostAt == nil, !plan.target.servesAll,
      let driver = ProcedureTable.find(program: call.program, procedure: call.procedure)?.driver,
      driver != .hypervisor, driver != .proxy
    else { return }
    let absences = checks.absences[driver] ?? 0
    checks.absences[driver] = absences - 1
    if absences < 1 { report("a call of driver \(driver) went to the main daemon") }
  }

  /// An upstream is given up for a reason: a failure, the loss of its backend or of the main one, or because something
  /// of it is still awaited when its time is up.
  func checkRemoval(of connection: Connection) {
    switch session.state {
    case .closing, .leaving, .lost: return
    default: break
    }
    if connection.hasFailed { return }
    // The session was turned away before, so that it is not lost by it.
    if connection.lostAt != nil, checks.hasMissedUnknown { return }
    let isOverdue = now > connection.since + connection.openSeconds - 0.01
    guard let backend = connection.backend, connection.isConnected else {
      if !isOverdue { report("upstream \(connection.id) is given up too early") }
      return
    }
    if backend.isDead || backend.stage == .refused || backend.stage == .closing { return }
    if backend.stage == .mustLogIn, backend.method == .sasl,
      !backend.expectation.target.hasCredentials
    {
      return
    }
    let isAwaited =
      !backend.pending.isEmpty || backend.isHung || connection.hasSASLStep || !proven.isComplete
      || backend.socket.available > 0 || !backend.socket.taken.isEmpty
      || driver.relay.waitingForUpstream(connection.slot) > 0
      // A daemon that is back settles before it is surveyed.
      || (connection.lostAt != nil && !(client.callbacks.isEmpty && client.registering.isEmpty))
    if !isOverdue || !isAwaited { report("upstream \(connection.id) is given up without a reason") }
  }

  func checkIdentity(_ identity: [TypedParameter]) {
    if !proven.isComplete { report("SET_IDENTITY before the names are known") }
    if identity != proven.parameters { report("SET_IDENTITY says \(identity)") }
  }

  /// Where nothing went wrong, the client has received every event that has been read from its backend.
  func checkEvents() {
    let unread = connections.contains { !$0.isGone && ($0.backend?.socket.available ?? 0) > 0 }
    checkGuests()
    guard isFaultless, !unread, client.events < checks.eventsWhileOpen else { return }
    report("\(client.events) of \(checks.eventsWhileOpen) events arrived")
  }

  /// What the client concludes from its events is what is so.
  private func checkGuests() {
    guard case .open = session.state, !client.isDead, !client.mayMissEvents,
      client.socket.taken.isEmpty, driver.relay.waitingForClient == 0
    else { return }
    for connection in connections where !connection.isGone {
      guard let backend = connection.backend, backend.socket.available == 0 else { return }
    }
    for (id, callback) in client.callbacks where callback.event == 0 && !client.unsure.contains(id)
    {
      if callback.guests != domains.guests {
        report("callback \(id) knows \(callback.guests), and there are \(domains.guests)")
      }
    }
  }

  // MARK: The end

  func checkEnd() {
    guard isOver else { return report("the session is not over in \(session.state)") }
    // Answers that come too late must lead to nothing.
    post(.namesKnown(UnixNames()))
    post(.time)
    post(.stop)
    if !client.isDead { client.read() }
    checkConfirmed()
    if let found = client.problem { report(found) }
    checkSent()
    if pool.heldCount != 0 { report("\(pool.heldCount) segments are still held") }
    for connection in connections {
      guard let backend = connection.backend, let sends = backend.removedAfter else { continue }
      if backend.socket.sends != sends { report("something was sent to a removed upstream") }
    }
    loop.trace.mix(client.trace.hash)
    for connection in connections { loop.trace.mix(connection.backend?.trace.hash ?? 0) }
  }

  /// The client has received all that was to be sent to it.
  private func checkSent() {
    let isMainDead = connections.contains { $0.driver == nil && $0.backend?.isDead == true }
    if client.closedEvents > 0, !isMainDead { report("a close event without a lost backend") }
    if client.closedEvents > 1 { report("more than one close event") }
    guard !client.isDead, checks.waitedAtEnd == 0, checks.turnedAwayAt == nil else { return }
    if checks.closingSince != nil, !checks.isEndedFromOutside, client.isWaiting {
      report("calls \(client.awaited.keys.sorted()) were not answered before the close")
    }
    if checks.isHalfClosed { checkPassedOn() }
    guard checks.lostSince != nil, client.registeredForClose, !client.hasUnregistered,
      !checks.isBrokenOff
    else {
      return
    }
    if client.closedEvents == 0 { report("no close event for a client that registered for it") }
  }

  /// Without the main backend, calls that were passed on are answered before the connection is half-closed.
  private func checkPassedOn() {
    for connection in connections {
      for call in connection.backend?.clientCalls ?? [] where client.awaited[call.serial] != nil {
        report("call \(call.serial) was passed on and never answered")
      }
    }
  }
}
