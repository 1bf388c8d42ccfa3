// One session with its client, its backends and its services, in virtual time: everything from one seed.
@testable import Streams

/// Runs a session in two phases. First anything may stall, fail, hang and die, and the session receives any event. Then
/// the calm phase: all that is late is answered, nothing else goes wrong, and everything must come to rest, work, and
/// end, each within a limited time.
final class SessionWorld {
  /// What is due at some time.
  enum Job {
    case post(SessionEvent)
    /// An upstream gets its place in the relay; its connection is made.
    case attach(Int)
    case connected(Int)
    case clientActs, clientPongs, clientStalls, clientResumes, clientVanishes, clientFallsSilent
    case clientPings, clientCloses
    case clientStreams
    case backendStreams(Int)
    case backendAnswers(Int)
    case backendRaisesEvent(Int)
    case backendPings(Int)
    case backendWakes(Int)
    case backendDies(Int)
    case mainDies
    case guestsChange
    case calm
  }

  enum Phase { case faults, rest, work, finish }

  let seed: UInt64
  /// What every packet of this session says, so that one that went astray is known.
  let tag: UInt32
  var random: Seed
  var coverage: SessionCoverage?
  let loop: SimulatedLoop
  /// The broker that hosts it, unless it is alone.
  private(set) weak var broker: BrokerWorld?
  /// Its connection, in that broker.
  weak var arrival: Arrival?
  var phase = Phase.faults
  let beganAt: Double
  /// Answers that do not come before the calm phase.
  private var postponed: [Job] = []
  /// The host's timer, by what the driver said last.
  private(set) var timer: Double?
  /// When a stream that waits for its rate may proceed.
  private(set) var rateTimer: Double?
  private(set) var isInTurn = false
  private var areStreamsFed = false
  /// Nothing goes wrong in such a run, from the start.
  let isFaultless: Bool

  let domains: SimulatedDomains
  let plan: SessionPlan
  let client: SessionClientModel
  let pool: SegmentPool
  private var made: SessionDriver?
  var driver: SessionDriver { made! }
  /// Draws when the session is moved to another driver.
  var moves: Seed
  private(set) var moveCount = 0
  private(set) var movedStreams = 0
  private(set) var lastSnapshot: SnapshotCoder?
  var session: Session { driver.session }
  var connections: [Connection] = []
  var checks = SessionChecks()
  var settings: SessionSettings
  /// What the client has proved so far.
  var proven: VerifiedIdentity
  var saslService = SASLService.idle
  var isOver = false

  enum SASLService { case idle, asked, offered, stepping, started }

  var now: Double { loop.now }

  /// A session by itself.
  /// - Parameter isMistaken: the session is told another identity than the client has, which the checks must find.
  convenience init(seed: UInt64, coverage: SessionCoverage? = nil, isMistaken: Bool = false) {
    // Neighbouring seeds would draw the same numbers, one place apart.
    var random = Seed(seed &* 0xD134_2543_DE82_EF95)
    let plan = SessionPlan(&random)
    self.init(
      seed: seed, tag: 1, plan, random, on: SimulatedLoop(seed: random.next()), in: nil,
      pool: SegmentPool(capacity: 1024, spare: 8), coverage, isMistaken: isMistaken)
    begin()
    schedule(.calm, in: plan.calmAt)
  }

  init(
    seed: UInt64, tag: UInt32, _ plan: SessionPlan, _ random: Seed, on loop: SimulatedLoop,
    in broker: BrokerWorld?, pool: SegmentPool, _ coverage: SessionCoverage?, isMistaken: Bool
  ) {
    self.seed = seed
    self.tag = tag
    self.coverage = coverage
    self.random = random
    moves = Seed(seed &+ UInt64(tag))
    self.loop = loop
    self.broker = broker
    self.pool = pool
    self.plan = plan
    beganAt = loop.now
    isFaultless = plan.isFaultless
    settings = plan.settings
    proven = plan.client.identity
    domains = SimulatedDomains(&self.random)
    client = SessionClientModel(
      seed: self.random.next(), tag: tag, client: plan.client, habits: plan.habits)
    client.socket.capacity = self.random.pick(200...4000)
    client.socket.isSmooth = self.random.once(in: 4)
    client.budget = plan.calls
    client.passesDescriptors = plan.target.isRemote ? 0 : 1
    client.socket.carriesDescriptors = plan.client.identity.peer != nil
    client.socket.makesRecords = plan.makesRecords
    var told = plan.client
    if isMistaken { told.identity.distinguishedName = "CN=mallory" }
    checks.heardAt = beganAt
    made = SessionDriver(
      Session(told, settings, at: beganAt), host: self, client: client.socket, pool: pool,
      maxRequests: plan.maxRequests, watermarks: SessionWorld.watermarks,
      largestWhole: SessionWorld.largestWhole)
    checks.isLoggedIn = plan.client.authentication == .none
    checks.mostRequests = plan.maxRequests
    checks.note(settings.keepAlive)
    timer = session.deadline
    loop.add(self)
    client.guestsAt = { [unowned self] serial in
      connections.reversed().lazy.compactMap { $0.backend?.seenAt[serial] }.first
    }
  }

  static let watermarks = Watermarks(
    high: 3000, ahead: 1000, own: 1500, splicedPayload: 30)
  static let largestWhole = 2048

  /// The client may act from now on.
  func begin() {
    schedule(.clientActs, in: 0)
    schedule(.guestsChange, in: seconds(0, 1))
    if plan.client.identity.peer != nil, plan.client.identity.names == nil {
      let names = UnixNames(user: random.once(in: 4) ? nil : "alice", group: "users")
      answerLater(.post(.namesKnown(names)), mayBeAtOnce: broker != nil)
    }
    planFaults()
  }

  // MARK: Time

  func schedule(_ job: Job, in seconds: Double) {
    loop.schedule(in: seconds) { [self] in execute(job) }
  }

  /// A service answers soon, late, or not before the calm phase.
  func answerLater(_ job: Job, mayBeAtOnce: Bool = true) {
    if mayBeAtOnce, random.once(in: 3) {
      execute(job)
    } else if isFaultless || phase != .faults || !random.once(in: 6) {
      schedule(job, in: seconds(0, phase == .faults ? 2 : 0.5))
    } else if random.once(in: 2) {
      schedule(job, in: seconds(2, 40))
    } else {
      postponed.append(job)
    }
  }

  func seconds(_ least: Double, _ most: Double) -> Double {
    Double.random(in: least...most, using: &random)
  }

  /// Something goes wrong once in so many times, unless nothing does.
  func fails(_ n: Int) -> Bool { !isFaultless && phase == .faults && random.once(in: n) }

  private func planFaults() {
    guard !isFaultless, phase == .faults else { return }
    for _ in 0..<random.pick(0...3) {
      schedule(.clientStalls, in: seconds(0, plan.calmAt))
    }
    for _ in 0..<random.pick(plan.habits.follows ? 2...5 : 0...2) {
      schedule(.mainDies, in: seconds(0, plan.calmAt))
    }
    if random.once(in: 8) { schedule(.clientVanishes, in: seconds(0, plan.calmAt)) }
    if random.once(in: 5) { schedule(.clientFallsSilent, in: seconds(0, plan.calmAt)) }
    // In a broker these come from what its administrator does.
    for _ in 0..<(broker == nil ? random.pick(0...2) : 0) {
      schedule(.post(drawEvent()), in: seconds(0, plan.calmAt))
    }
  }

  /// An event that answers nothing.
  private func drawEvent() -> SessionEvent {
    switch random.pick(0...9) {
    case 0: .stop
    case 1: .end(Message(.simulated))
    case 2: .turnAway(.address, Message(.simulated))
    case 3, 4: .drain
    default: .settings(SessionPlan.settings(&random))
    }
  }

  /// The session has entered a state that does not last long: something may happen meanwhile.
  func disturb(onceIn n: Int) {
    guard fails(n) else { return }
    if let broker { return broker.disturb(self) }
    let jobs: [Job] = [
      .post(drawEvent()), .post(.stop), .post(.turnAway(.identity, Message(.simulated))),
      .post(.end(Message(.simulatedWarning))), .clientVanishes, .post(.drain),
    ]
    schedule(jobs[random.pick(0...5)], in: random.once(in: 2) ? 0 : seconds(0, 1))
  }

  // MARK: Steps

  func report(_ text: String) {
    loop.report(broker == nil ? text : "client \(tag): \(text)")
  }

  /// When one of its timers rings next.
  var nextTimer: Double { min(timer ?? .infinity, rateTimer ?? .infinity) }

  /// The sockets that the loop would report: 0 is the client's, then the upstreams'.
  func eachReadySocket(_ body: (Int) -> Void) {
    guard !isOver else { return }
    if !readiness(client.socket, driver.relay.clientInterest).isEmpty { body(0) }
    for (index, connection) in connections.enumerated() {
      guard connection.isConnected, !connection.isGone, let backend = connection.backend else {
        continue
      }
      let interest = driver.relay.upstreamInterest(connection.slot)
      if !readiness(backend.socket, interest).isEmpty { body(index + 1) }
    }
  }

  private func readiness(_ socket: ScriptedTransport, _ interest: Interest) -> Interest {
    var ready: Interest = []
    if interest.contains(.read), socket.isReadable { ready.insert(.read) }
    if interest.contains(.write), socket.isWritable { ready.insert(.write) }
    return ready
  }

  func timerRings() {
    handOverAtTimes()
    guard !isOver, nextTimer <= now else { return }
    if let time = rateTimer, time <= timer ?? .infinity {
      rateTimer = nil
      return turn { driver.settle(at: now) }
    }
    timer = nil
    post(.time)
    if !isOver, session.deadline != nil, timer == nil { report("the timer is not set again") }
  }

  func socketReady(_ socket: Int) {
    loop.trace.mix(UInt64(tag) << 32 | UInt64(socket))
    handOverAtTimes()
    guard !isOver else { return }
    guard socket > 0 else {
      let ready = readiness(client.socket, driver.relay.clientInterest)
      if ready.contains(.read) { checks.heardAt = now }
      let before = coverage?.before(driver, upstream: nil)
      turn { driver.clientReady(ready, at: now) }
      if let before { coverage?.noteCall(before, driver) }
      return
    }
    let connection = connections[socket - 1]
    guard let backend = connection.backend else { return }
    let ready = readiness(backend.socket, driver.relay.upstreamInterest(connection.slot))
    let before = coverage?.before(driver, upstream: connection.id)
    turn { driver.upstreamReady(connection.slot, ready, at: now) }
    if let before { coverage?.noteAnswer(before, driver) }
  }

  func moved(to new: SessionDriver, by snapshot: SnapshotCoder) {
    made = new
    moveCount += 1
    movedStreams += new.relay.streamCount
    lastSnapshot = snapshot
  }

  /// A call into the driver that did not come from within another.
  func turn(_ body: () -> Void) {
    // A turn of another session's may have ended this one, or be within one of its own.
    let isInner = isInTurn
    isInTurn = true
    body()
    isInTurn = isInner
    if !isInner { readEnds() }
  }

  func post(_ event: SessionEvent) {
    note(event)
    if isInTurn { return driver.post(event, at: now) }
    turn { driver.post(event, at: now) }
  }

  /// Both ends take what has reached them.
  func readEnds() {
    if !client.isDead, !client.socket.isStalled, !client.socket.taken.isEmpty {
      client.read()
      if client.openPings > 0, client.habits.answersPings {
        schedule(.clientPongs, in: seconds(0, 0.3))
      }
    }
    if client.isKeepAliveGranted { checks.keepAliveSince = checks.keepAliveSince ?? now }
    if !client.confirmed.isEmpty { checkConfirmed() }
    if let found = client.problem { report(found) }
    if client.hasOpenStreams { startStreams() }
    for connection in connections {
      guard let backend = connection.backend, !connection.isGone, !backend.isDead, !backend.isHung,
        !backend.socket.taken.isEmpty
      else { continue }
      read(connection, backend)
    }
  }

  private func read(_ connection: Connection, _ backend: SessionBackendModel) {
    let calls = backend.clientCalls.count
    let count = backend.read()
    for _ in 0..<count {
      schedule(.backendAnswers(connection.id), in: fails(8) ? seconds(0, 4) : seconds(0, 0.2))
    }
    if let found = backend.problem { report("backend \(backend.id): \(found)") }
    if backend.hasOpenStreams { startStreams(of: connection) }
    for call in backend.clientCalls[calls...] { checkArrival(of: call, at: connection) }
    if let identity = backend.takeIdentity() { checkIdentity(identity) }
    guard count > 0 else { return }
    if fails(25) {
      backend.isHung = true
      if random.once(in: 2) { schedule(.backendWakes(backend.id), in: seconds(1, 40)) }
    }
    if fails(40) { schedule(.backendDies(backend.id), in: seconds(0, 1)) }
    if random.once(in: 6) { schedule(.backendRaisesEvent(backend.id), in: seconds(0, 1)) }
    if random.once(in: 20) { schedule(.backendPings(backend.id), in: seconds(0, 1)) }
  }

  private func startStreams() {
    guard !areStreamsFed else { return }
    areStreamsFed = true
    schedule(.clientStreams, in: seconds(0, 0.2))
  }

  private func startStreams(of connection: Connection) {
    guard !connection.areStreamsFed else { return }
    connection.areStreamsFed = true
    schedule(.backendStreams(connection.id), in: seconds(0, 0.2))
  }

  // MARK: Jobs

  func connection(_ id: Int) -> Connection? { connections.first { $0.id == id } }
  private func backend(_ id: Int) -> SessionBackendModel? {
    connection(id).flatMap { $0.isGone ? nil : $0.backend }
  }

  func execute(_ job: Job) {
    guard !isOver else { return }
    switch job {
    case .post(let event): postAnswer(event)
    case .attach(let id): attach(id)
    case .connected(let id):
      guard let connection = connection(id), !connection.isGone else { return }
      connection.isConnected = true
      post(.upstream(id, .connected))
    case .clientActs:
      guard phase == .faults || phase == .work, !isOver else { return }
      client.act(&random, isCalm: phase == .work)
      schedule(.clientActs, in: client.habits.pipelines ? seconds(0, 0.1) : seconds(0, plan.pace))
      if random.once(in: 12), !client.isSilent, !client.isDead { client.ping() }
    case .clientPongs: client.pong()
    case .clientPings: client.ping()
    case .clientStalls:
      guard phase == .faults else { return }
      client.socket.isStalled = true
      schedule(.clientResumes, in: seconds(0.1, 15))
    case .clientResumes:
      client.socket.isStalled = false
      readEnds()
    case .clientVanishes: if !client.isDead { client.vanish() }
    case .clientCloses: client.socket.isClosed = true
    case .clientFallsSilent: client.isSilent = true
    case .backendAnswers(let id):
      let isCalm = isFaultless || phase != .faults
      guard let backend = backend(id) else { return }
      backend.answer(&random, isCalm: isCalm, &client.excuses.backendErrors)
      if backend.hasOpenStreams, let connection = connection(id) { startStreams(of: connection) }
    case .clientStreams:
      areStreamsFed = false
      guard !isOver, client.hasOpenStreams else { return }
      client.feedStream(&random, isCalm: isFaultless || phase != .faults)
      startStreams()
    case .backendStreams(let id): feedStreams(of: id)
    case .backendRaisesEvent(let id):
      guard backend(id)?.raiseEvent() == true, case .open = session.state else { return }
      checks.eventsWhileOpen += 1
    case .backendPings(let id): backend(id)?.ping()
    case .backendWakes(let id): wake(id)
    case .mainDies:
      let living = connections.filter { !$0.isGone && $0.driver == nil }
      if phase == .faults, let backend = living.last?.backend { backend.die(&random) }
    case .guestsChange: changeGuests()
    case .backendDies(let id): if phase == .faults { backend(id)?.die(&random) }
    case .calm: becomeCalm()
    }
  }

  /// Something happens to the guests, whether their daemon lives or not.
  private func changeGuests() {
    guard phase == .faults || phase == .work else { return }
    schedule(.guestsChange, in: seconds(0, 1))
    guard let happening = domains.change(&random) else { return }
    loop.tell("client \(tag): guest \(happening.guest) has event \(happening.event)")
    for connection in connections where connection.driver == nil && !connection.isGone {
      connection.backend?.raise(happening)
    }
  }

  private func feedStreams(of id: Int) {
    guard let connection = connection(id), let backend = backend(id) else { return }
    connection.areStreamsFed = false
    guard !isOver, !backend.isGone, backend.hasOpenStreams else { return }
    if let serial = backend.feedStream(&random, isCalm: isFaultless || phase != .faults) {
      client.excuses.streamErrors.insert(serial)
    }
    startStreams(of: connection)
  }

  func wake(_ id: Int) {
    guard let backend = backend(id), backend.isHung else { return }
    backend.isHung = false
    readEnds()
    for _ in backend.pending { schedule(.backendAnswers(id), in: seconds(0, 0.2)) }
  }

  func becomeCalm() {
    guard phase == .faults, !isOver else { return }
    phase = .rest
    client.socket.isStalled = false
    for job in postponed { schedule(job, in: seconds(0, 0.5)) }
    postponed = []
    for connection in connections { wake(connection.id) }
    readEnds()
  }

  // MARK: The run

  /// Runs a session by itself to its end. What was wrong, or nil.
  func run() -> String? {
    func run(until isDone: () -> Bool, within seconds: Double) {
      let limit = now + seconds
      while !isOver, loop.problem == nil, !isDone() {
        loop.step()
        if loop.steps > 30_000 { report("it does not come to an end") }
        if now > limit { report("phase \(phase) takes more than \(seconds) s in \(session.state)") }
      }
    }
    run(until: { phase == .rest }, within: 1000)
    run(until: { isAtRest }, within: 60)
    if loop.problem == nil, !isOver, canWork {
      beginWork()
      run(until: { isWorkDone }, within: 60)
      if loop.problem == nil, !isOver { checkEvents() }
    }
    if loop.problem == nil, !isOver {
      finish()
      run(until: { false }, within: 12)
    }
    checkEnd()
    loop.end()
    return loop.problem.map { "seed \(seed) at \(now): \($0)" }
  }

  /// The client may be asked for something once more.
  var canWork: Bool { !client.isSilent && !client.hasSentClose && !client.isDead && plan.canLogIn }

  func beginWork() {
    phase = .work
    client.forgetExcuses()
    client.budget = 8
    schedule(.clientActs, in: 0)
    schedule(.guestsChange, in: 0)
  }

  var isWorkDone: Bool {
    client.isOpened && client.budget == 0 && !client.isWaiting && isAtRest
  }

  /// Everything that was begun has come to its end.
  var isAtRest: Bool {
    guard client.awaited.isEmpty, client.isSilent || !client.hasOpenStreams,
      driver.relay.waitingForClient == 0,
      !client.isDead, checks.stopsSince == nil, checks.turnedAwayAt == nil
    else { return false }
    switch session.state {
    case .loggingIn(.awaited, _), .loggingIn(.offered, _), .loggingIn(.started, _): return true
    case .connected, .open: return session.upstreams.allSatisfy { $0.state == .ready }
    default: return false
    }
  }

  /// The client leaves, or an administrator or the broker ends it.
  func finish() {
    phase = .finish
    switch random.pick(0...3) {
    case 0 where client.isLoggedIn && !client.isSilent && !client.hasSentClose:
      client.send(.close, &random)
    case 1 where broker == nil: post(.stop)
    case 2: post(.end(Message(.simulated)))
    default: client.vanish()
    }
  }

  /// Its client's socket is not watched for anything to read.
  var isNotRead: Bool { !isOver && !driver.relay.clientInterest.contains(.read) }

  func meters(for kind: StreamKind) -> [Meter] {
    guard let meter = broker?.meters[kind], meter.rate > 0 else { return [] }
    return [meter]
  }

  func deadlineChanged(to deadline: Double?) { timer = deadline }

  /// The host looks when the next packet that waits for its rate may go.
  func watchRates() { rateTimer = driver.relay.nextMeteredTime }
}
