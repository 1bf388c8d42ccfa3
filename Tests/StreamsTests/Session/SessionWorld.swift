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
    case backendAnswers(Int)
    case backendRaisesEvent(Int)
    case backendPings(Int)
    case backendWakes(Int)
    case backendDies(Int)
    case calm
  }

  enum Phase { case faults, rest, work, finish }

  let seed: UInt64
  var random: Seed
  var coverage: SessionCoverage?
  var trace = Trace()
  var now = 0.0
  var phase = Phase.faults
  private(set) var problem: String?
  private var agenda: [(time: Double, order: Int, job: Job)] = []
  private var order = 0
  /// Answers that do not come before the calm phase.
  private var postponed: [Job] = []
  /// The host's timer, by what the driver said last.
  private(set) var timer: Double?
  private(set) var isInTurn = false
  /// Nothing goes wrong in such a run, from the start.
  let isFaultless: Bool

  let plan: SessionPlan
  let client: SessionClientModel
  let pool = SegmentPool(capacity: 1024, spare: 8)
  private var made: SessionDriver?
  var driver: SessionDriver { made! }
  var session: Session { driver.session }
  var connections: [Connection] = []
  var checks = SessionChecks()
  var settings: SessionSettings
  /// What the client has proved so far.
  var proven: VerifiedIdentity
  var saslService = SASLService.idle
  var isOver = false

  enum SASLService { case idle, asked, offered, stepping, started }

  /// - Parameter isMistaken: the session is told another identity than the client has, which the checks must find.
  init(seed: UInt64, coverage: SessionCoverage? = nil, isMistaken: Bool = false) {
    self.seed = seed
    self.coverage = coverage
    // Neighbouring seeds would draw the same numbers, one place apart.
    random = Seed(seed &* 0xD134_2543_DE82_EF95)
    plan = SessionPlan(&random)
    isFaultless = plan.isFaultless
    settings = plan.settings
    proven = plan.client.identity
    client = SessionClientModel(seed: random.next(), client: plan.client, habits: plan.habits)
    client.socket.capacity = random.pick(200...4000)
    client.budget = plan.calls
    client.passesDescriptors = plan.target.isRemote ? 0 : 1
    var told = plan.client
    if isMistaken { told.identity.distinguishedName = "CN=mallory" }
    made = SessionDriver(
      Session(told, settings, at: 0), host: self, client: client.socket, pool: pool,
      maxRequests: random.pick(1...5), watermarks: Watermarks(high: 3000, ahead: 1000, own: 1500),
      largestWhole: 2048)
    checks.isLoggedIn = plan.client.authentication == .none
    checks.note(settings.keepAlive)
    timer = session.deadline
    schedule(.calm, in: plan.calmAt)
    schedule(.clientActs, in: 0)
    if plan.client.identity.peer != nil, plan.client.identity.names == nil {
      let names = UnixNames(user: random.once(in: 4) ? nil : "alice", group: "users")
      answerLater(.post(.namesKnown(names)), mayBeAtOnce: false)
    }
    planFaults()
  }

  // MARK: Time

  func schedule(_ job: Job, in seconds: Double) {
    order += 1
    agenda.append((now + seconds, order, job))
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
    guard !isFaultless else { return }
    for _ in 0..<random.pick(0...3) {
      schedule(.clientStalls, in: seconds(0, plan.calmAt))
    }
    if random.once(in: 8) { schedule(.clientVanishes, in: seconds(0, plan.calmAt)) }
    if random.once(in: 5) { schedule(.clientFallsSilent, in: seconds(0, plan.calmAt)) }
    for _ in 0..<random.pick(0...2) {
      schedule(.post(drawEvent()), in: seconds(0, plan.calmAt))
    }
  }

  /// An event that answers nothing.
  private func drawEvent() -> SessionEvent {
    switch random.pick(0...9) {
    case 0: .stop
    case 1: .end(Message(.simulated))
    case 2: .turnAway(.address, Message(.simulated))
    default: .settings(SessionPlan.settings(&random))
    }
  }

  /// The session has entered a state that does not last long: something may happen meanwhile.
  func disturb(onceIn n: Int) {
    guard fails(n) else { return }
    let jobs: [Job] = [
      .post(drawEvent()), .post(.stop), .post(.turnAway(.identity, Message(.simulated))),
      .post(.end(Message(.simulatedWarning))), .clientVanishes,
    ]
    schedule(jobs[random.pick(0...4)], in: random.once(in: 2) ? 0 : seconds(0, 1))
  }

  // MARK: Steps

  func report(_ text: String) {
    problem = problem ?? text
  }

  /// The sockets that the loop would report: 0 is the client's, then the upstreams'.
  private func readySocket() -> Int? {
    var ready: [Int] = []
    if !readiness(client.socket, driver.relay.clientInterest).isEmpty { ready.append(0) }
    for (index, connection) in connections.enumerated() {
      guard connection.isConnected, !connection.isGone, let backend = connection.backend else {
        continue
      }
      let interest = driver.relay.upstreamInterest(connection.slot)
      if !readiness(backend.socket, interest).isEmpty { ready.append(index + 1) }
    }
    return ready.randomElement(using: &random)
  }

  private func readiness(_ socket: ScriptedTransport, _ interest: Interest) -> Interest {
    var ready: Interest = []
    if interest.contains(.read), socket.isReadable { ready.insert(.read) }
    if interest.contains(.write), socket.isWritable { ready.insert(.write) }
    return ready
  }

  /// One turn of the loop: a socket that is ready, the timer, or what is due next.
  private func step() {
    let next = agenda.indices.min {
      (agenda[$0].time, agenda[$0].order) < (agenda[$1].time, agenda[$1].order)
    }
    let due = min(timer ?? .infinity, next.map { agenda[$0].time } ?? .infinity)
    if let socket = readySocket(), due > now + 0.01 || !random.once(in: 4) {
      now += Double(random.pick(1...4)) * 0.001
      socketReady(socket)
    } else if let time = timer, time <= due {
      // A loop's timer may ring early by what clocks differ.
      now = max(now, random.once(in: 2) ? time : time - 0.0004)
      timer = nil
      post(.time)
      if !isOver, session.deadline != nil, timer == nil { report("the timer is not set again") }
    } else if let next {
      now = max(now, agenda[next].time)
      execute(agenda.remove(at: next).job)
    } else {
      report("nothing will happen any more")
    }
    trace.mix(now)
    checkClock()
  }

  private func socketReady(_ socket: Int) {
    trace.mix(UInt64(socket))
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

  /// A call into the driver that did not come from within another.
  func turn(_ body: () -> Void) {
    isInTurn = true
    body()
    isInTurn = false
    readEnds()
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
    if let found = client.problem { report(found) }
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

  // MARK: Jobs

  func connection(_ id: Int) -> Connection? { connections.first { $0.id == id } }
  private func backend(_ id: Int) -> SessionBackendModel? {
    connection(id).flatMap { $0.isGone ? nil : $0.backend }
  }

  func execute(_ job: Job) {
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
      backend(id)?.answer(&random, isCalm: isCalm, &client.excuses.backendErrors)
    case .backendRaisesEvent(let id):
      guard backend(id)?.raiseEvent() == true, case .open = session.state else { return }
      checks.eventsWhileOpen += 1
    case .backendPings(let id): backend(id)?.ping()
    case .backendWakes(let id): wake(id)
    case .backendDies(let id): if phase == .faults { backend(id)?.die(&random) }
    case .calm: becomeCalm()
    }
  }

  private func wake(_ id: Int) {
    guard let backend = backend(id), backend.isHung else { return }
    backend.isHung = false
    readEnds()
    for _ in backend.pending { schedule(.backendAnswers(id), in: seconds(0, 0.2)) }
  }

  private func becomeCalm() {
    phase = .rest
    client.socket.isStalled = false
    for job in postponed { schedule(job, in: seconds(0, 0.5)) }
    postponed = []
    for connection in connections { wake(connection.id) }
    readEnds()
  }

  // MARK: The run

  /// Runs to the end of the session. What was wrong, or nil.
  func run() -> String? {
    var steps = 0
    func run(until isDone: () -> Bool, within seconds: Double) {
      let limit = now + seconds
      while !isOver, problem == nil, !isDone() {
        step()
        steps += 1
        if steps > 30_000 { report("it does not come to an end") }
        if now > limit { report("phase \(phase) takes more than \(seconds) s in \(session.state)") }
      }
    }
    run(until: { phase == .rest }, within: 1000)
    run(until: { isAtRest }, within: 60)
    if problem == nil, !isOver, !client.isSilent, !client.hasSentClose, plan.canLogIn {
      phase = .work
      client.forgetExcuses()
      client.budget = 8
      schedule(.clientActs, in: 0)
      run(
        until: { client.isOpened && client.budget == 0 && !client.isWaiting && isAtRest },
        within: 60)
      if problem == nil, !isOver { checkEvents() }
    }
    if problem == nil, !isOver {
      phase = .finish
      finish()
      run(until: { false }, within: 12)
    }
    checkEnd()
    return problem.map { "seed \(seed) at \(now): \($0)" }
  }

  /// Everything that was begun has come to its end.
  private var isAtRest: Bool {
    guard client.awaited.isEmpty, driver.relay.waitingForClient == 0, !client.isDead,
      checks.stopsSince == nil, checks.turnedAwayAt == nil
    else { return false }
    switch session.state {
    case .loggingIn(.awaited, _), .loggingIn(.offered, _), .loggingIn(.started, _): return true
    case .connected, .open: return session.upstreams.allSatisfy { $0.state == .ready }
    default: return false
    }
  }

  private func finish() {
    switch random.pick(0...3) {
    case 0 where client.isLoggedIn && !client.isSilent && !client.hasSentClose:
      client.send(.close, &random)
    case 1: post(.stop)
    case 2: post(.end(Message(.simulated)))
    default: client.vanish()
    }
  }

  func deadlineChanged(to deadline: Double?) { timer = deadline }
}
