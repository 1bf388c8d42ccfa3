// Connections of a simulated broker: accepted, admitted, served and ended, as the broker itself does it.
@testable import Streams

extension BrokerWorld {
  /// How long a TLS handshake may take.
  private static let handshakeSeconds = 10.0
  private static let hangUpSeconds = 1.0

  func note(_ arrival: Arrival, _ event: String) {
    coverage?.noteConnection(arrival.stage.name, event)
    loop.trace.mix(event)
    loop.trace.mix(UInt64(arrival.number))
    loop.tell("\(event): connection \(arrival.number) of \(arrival.origin), \(arrival.stage.name)")
  }

  // MARK: Accepting

  func connects(_ arrival: Arrival) {
    note(arrival, "connects")
    guard lifetime.acceptsClients else {
      arrival.stage = .over
      return
    }
    if phase == .faults, !plan.isFaultless, random.once(in: 6) {
      loop.schedule(in: seconds(0, 8)) { [unowned self] in leaves(arrival) }
    }
    accept()
  }

  /// Its client gives up, if it is not served yet.
  private func leaves(_ arrival: Arrival) {
    note(arrival, "leaves")
    switch arrival.stage {
    case .queued, .shaking, .waiting, .confirming: arrival.hasLeft = true
    case .client(let session): if !session.client.isDead { session.client.vanish() }
    case .over: return
    }
    // A TLS connection is watched also while it waits.
    if plan.listeners[arrival.gate].isTLS, arrival.isAccepted, arrival.session == nil {
      ended(pending: arrival)
    }
  }

  /// Takes what is in the kernel's queues, as far as there are descriptors.
  func accept() {
    guard lifetime.acceptsClients else { return }
    for arrival in arrivals {
      guard case .queued = arrival.stage, !accepting.isPaused else { continue }
      guard arrivals.count(where: \.isAccepted) < descriptors else { return cannotAccept() }
      accepted(arrival)
    }
  }

  private func cannotAccept() {
    let (actions, pause) = accepting.failed(&admission, at: loop.now)
    loop.tell("no descriptor: \(actions)")
    acceptAlarm.start(seconds: pause)
    decide(actions, sheds: true)
  }

  func resumeAccepting() {
    guard lifetime.acceptsClients else { return }
    accepting.resume()
    accept()
  }

  private func accepted(_ arrival: Arrival) {
    note(arrival, "accepted")
    guard plan.listeners[arrival.gate].isTLS else { return arrived(arrival) }
    arrival.stage = .shaking
    let isStuck = phase == .faults && !plan.isFaultless && random.once(in: 8)
    loop.schedule(in: isStuck ? BrokerWorld.handshakeSeconds : seconds(0, 0.4)) {
      [unowned self] in
      guard case .shaking = arrival.stage else { return }
      if isStuck || arrival.hasLeft { return ended(pending: arrival) }
      arrived(arrival)
    }
  }

  // MARK: Places

  /// A connection asks for a place.
  private func arrived(_ arrival: Arrival) {
    lastID += 1
    let id = lastID
    arrival.id = id
    arrival.stage = .waiting
    note(arrival, "arrives")
    let mustLogIn = plan.listeners[arrival.gate].authentication != .none
    checks.arrived(id, from: arrival.origin, at: arrival.gate, mustLogIn: mustLogIn, now: loop.now)
    decide(
      admission.request(
        id, from: arrival.origin, at: arrival.gate, mustLogIn: mustLogIn, now: loop.now))
    if admission.waitingCount > 0, !hangUpAlarm.isSet { startHangUpLooks() }
  }

  /// It is over before it became a client.
  func ended(pending arrival: Arrival) {
    guard !arrival.isOver, arrival.session == nil else { return }
    note(arrival, "ends")
    let wasPending = arrival.isPending
    arrival.stage = .over
    guard wasPending, let id = arrival.id, lifetime.acceptsClients else { return }
    checks.gone(id)
    decide(admission.closed(id, now: loop.now))
  }

  func authenticated(_ arrival: Arrival) {
    guard let id = arrival.id else { return }
    note(arrival, "authenticated")
    guard lifetime.acceptsClients else { return }
    checks.authenticated(id)
    decide(admission.authenticated(id, now: loop.now))
  }

  func change(_ limits: BrokerLimits) {
    loop.tell("limits: \(limits)")
    for arrival in arrivals { note(arrival, "limits") }
    self.limits = limits
    admission.mostClients = limits.clients
    admission.mostUnauthenticated = limits.anonymous
    admission.mostWaiting = limits.waiting
    checks.narrow(limits)
    memory.total = limits.segments * pool.capacity
    memory.share = memory.total / 2
    seen.memoryAllowed = max(memory.total, memory.used)
    lookForPlaces()
  }

  func lookForPlaces() {
    guard lifetime.acceptsClients else { return }
    decide(admission.fill(at: loop.now))
  }

  private func decide(_ actions: [Admission.Action], sheds: Bool = false) {
    checks.decided(actions, now: loop.now, sheds: sheds)
    if let found = checks.problem { report(found) }
    perform(actions)
  }

  private func perform(_ actions: [Admission.Action]) {
    for action in actions where lifetime.acceptsClients {
      switch action {
      case .admit(let id): admitted(id)
      case .drop(let id): drop(id)
      }
    }
    guard let time = admission.nextCheck else { return }
    admissionAlarm.start(seconds: max(0.01, time - loop.now))
  }

  private func arrival(_ id: UInt64) -> Arrival? {
    arrivals.first { $0.id == id && !$0.isOver }
  }

  private func admitted(_ id: UInt64) {
    // It may have ended on account of what was done before.
    guard let arrival = arrival(id), case .waiting = arrival.stage else { return }
    note(arrival, "admitted")
    guard plan.listeners[arrival.gate].isTLS else { return begin(arrival) }
    arrival.stage = .confirming
    loop.schedule(in: seconds(0, 0.2)) { [unowned self] in
      guard case .confirming = arrival.stage else { return }
      begin(arrival)
    }
  }

  private func drop(_ id: UInt64) {
    guard let arrival = arrival(id) else { return }
    note(arrival, "dropped")
    guard let session = arrival.session else { return ended(pending: arrival) }
    session.post(.end(Message(.simulated)))
  }

  // MARK: Clients

  /// A connection with a place becomes a client.
  private func begin(_ arrival: Arrival) {
    if !lifetime.acceptsClients { report("a client is admitted in state \(lifetime.state)") }
    var plan = self.plan.session(
      &random, at: arrival.gate, from: arrival.origin, number: arrival.number)
    plan.settings = settings
    plan.maxRequests = limits.requests
    if phase == .finish || arrival.isLate { plan.habits.closesWhenDone = true }
    let isMistaken = mistake == .identity && arrival.number % 2 == 0
    let session = SessionWorld(
      seed: seed, tag: UInt32(arrival.number), plan, Seed(random.next()), on: loop, in: self,
      pool: SegmentPool(sharing: pool), coverage, isMistaken: isMistaken)
    if mistake == .tag { session.client.tag = 1 }
    session.arrival = arrival
    arrival.stage = .client(session)
    occupancyChanged()
    if phase != .faults { session.phase = .rest }
    if arrival.hasLeft { session.client.vanish() }
    beginCounting(session, arrival)
    guard !session.isOver else { return }
    session.begin()
    switch phase {
    case .faults, .rest: break
    case .work:
      if session.canWork { session.beginWork() } else { leavesSoon(arrival) }
    case .finish:
      if session.canWork { session.beginWork() }
      loop.schedule(in: 20) { [unowned self] in leavesSoon(arrival) }
    }
  }

  private func beginCounting(_ session: SessionWorld, _ arrival: Arrival) {
    if case .address(let bytes) = arrival.origin {
      let address = "\(bytes)"
      arrival.address = address
      if addresses.add(address, most: limits.perAddress) {
        checkTooMany(counted(\.address, address), limits.perAddress)
        // It counts no more by then.
        return session.post(.turnAway(.address, Message(.simulated)))
      }
      checkFew(counted(\.address, address), limits.perAddress)
    }
    guard session.plan.client.authentication != .sasl,
      let reason = count(session.plan.client.identity, arrival)
    else { return }
    session.post(.turnAway(.identity, reason))
  }

  /// Counts a client by its identity. Why it is one too many.
  func count(_ identity: VerifiedIdentity, _ arrival: Arrival) -> Message? {
    guard let subject = identity.subject else { return nil }
    if let before = arrival.subject { subjects.remove(before) }
    arrival.subject = subject
    guard subjects.add(subject, most: limits.perIdentity) else {
      checkFew(counted(\.subject, subject), limits.perIdentity)
      return nil
    }
    checkTooMany(counted(\.subject, subject), limits.perIdentity)
    return Message(.simulated)
  }

  private func counted(_ key: KeyPath<Arrival, String?>, _ value: String) -> Int {
    arrivals.count { !$0.isOver && $0[keyPath: key] == value }
  }

  private func checkTooMany(_ count: Int, _ most: Int) {
    if most == 0 || count <= most { report("one too many, as one of \(count), of at most \(most)") }
  }

  private func checkFew(_ count: Int, _ most: Int) {
    if most > 0, count > most { report("one of \(count) may stay, of at most \(most)") }
  }

  /// It counts no more.
  func uncount(_ arrival: Arrival) {
    if let address = arrival.address { addresses.remove(address) }
    if let subject = arrival.subject { subjects.remove(subject) }
    arrival.address = nil
    arrival.subject = nil
  }

  /// A session is over.
  func departed(_ session: SessionWorld, _ arrival: Arrival) {
    note(arrival, "departs")
    countMemory(session)
    uncount(arrival)
    helpers.release(arrival.helpers, for: arrival.origin)
    arrival.helpers = 0
    for path in daemonPaths { daemons[path]?.forget(session) }
    arrival.stage = .over
    guard lifetime.acceptsClients else {
      lifetime.clientLeft(leaving: clientCount)
      return
    }
    if let id = arrival.id {
      checks.gone(id)
      decide(admission.closed(id, now: loop.now))
    }
    resumeAccepting()
    occupancyChanged()
  }

  var clientCount: Int { arrivals.count { $0.session != nil } }

  // MARK: Memory

  func countMemory(_ session: SessionWorld) {
    guard let arrival = session.arrival, let id = arrival.id else { return }
    let held = session.pool.heldCount * pool.capacity
    guard held != arrival.heldBytes else { return }
    let grown = held - arrival.heldBytes
    arrival.heldBytes = held
    let victims = memory.changed(id, of: arrival.origin, to: held)
    checkVictims(victims, arrival, by: grown)
    seen.victims.formUnion(victims)
    defer { seen.victims.subtract(victims) }
    for victim in victims {
      guard let arrival = self.arrival(victim) else { continue }
      note(arrival, "too large")
      arrival.session?.post(.end(Message(.simulatedWarning)))
    }
    seen.memoryAllowed = max(memory.total, memory.used)
  }

  // MARK: Hang-ups

  func startHangUpLooks() { hangUpAlarm.start(seconds: BrokerWorld.hangUpSeconds) }

  /// Ends the connections that are not read and whose clients are gone.
  func lookForHangUps() {
    var isAnyUnread = false
    for arrival in arrivals {
      switch arrival.stage {
      case .waiting, .confirming:
        isAnyUnread = true
        if arrival.hasLeft { hungUp(arrival) }
      case .client(let session) where session.isNotRead:
        isAnyUnread = true
        if session.client.socket.isClosed { hungUp(arrival) }
      case .queued, .shaking, .client, .over: break
      }
    }
    if isAnyUnread { startHangUpLooks() }
  }

  private func hungUp(_ arrival: Arrival) {
    note(arrival, "hung up")
    guard let session = arrival.session else { return ended(pending: arrival) }
    session.post(.end(Message(.simulated)))
  }

  // MARK: The end

  func occupancyChanged() {
    lifetime.occupancyChanged(
      isEmpty: clientCount == 0, idleSeconds: plan.idleSeconds, at: loop.now)
    seen.emptySince = clientCount == 0 ? seen.emptySince ?? loop.now : nil
    setLifeAlarm()
  }

  private func setLifeAlarm() {
    guard let deadline = lifetime.deadline else { return lifeAlarm.stop() }
    lifeAlarm.start(seconds: max(0, deadline - loop.now))
  }

  func lifeTimeUp() {
    switch lifetime.timeUp() {
    case .nothing: report("the alarm of the life cycle rings for nothing")
    case .idle:
      if clientCount > 0 { report("the broker is idle with \(clientCount) clients") }
      stop()
    case .drained:
      if seen.drainUntil == nil { report("the time of a drain without a limit is up") }
      stop()
    case .stopped: endAll()
    }
  }

  /// An administrator drains the broker, or changes the limit of the drain.
  func drain(within seconds: Double?) {
    guard !lifetime.isStopping else { return }
    let isFirst = lifetime.acceptsClients
    loop.tell("drain within \(seconds.map { "\($0)" } ?? "the same time")")
    lifetime.drain(clients: clientCount, seconds: seconds, at: loop.now)
    if let seconds { seen.drainUntil = seconds > 0 ? loop.now + seconds : nil }
    setLifeAlarm()
    guard isFirst else { return }
    seen.drainedAt = loop.now
    for arrival in arrivals { note(arrival, "drain") }
    endPending()
    for session in arrivals.compactMap(\.session) where !session.isOver { session.post(.drain) }
    endAll()
  }

  /// What has no place gets none any more.
  private func endPending() {
    for arrival in arrivals {
      switch arrival.stage {
      case .queued: arrival.stage = .over
      case .shaking, .waiting, .confirming: ended(pending: arrival)
      case .client, .over: break
      }
    }
  }

  func stop() {
    let isFirst = !lifetime.isStopping
    loop.tell("stop")
    lifetime.stop(clients: clientCount, seconds: plan.stopSeconds, at: loop.now)
    guard isFirst else { return endAll() }
    seen.stoppedAt = loop.now
    for arrival in arrivals { note(arrival, "stop") }
    endPending()
    setLifeAlarm()
    for session in arrivals.compactMap(\.session) where !session.isOver { session.post(.stop) }
    endAll()
  }

  /// The loop has ended: what is left ends with it.
  private func endAll() {
    guard lifetime.state == .over else { return }
    for session in arrivals.compactMap(\.session) where !session.isOver {
      session.post(.end(Message(.simulated)))
    }
  }
}
