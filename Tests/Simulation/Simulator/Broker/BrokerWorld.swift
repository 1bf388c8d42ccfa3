// A whole broker with its clients, its daemons and its administrator, in virtual time: everything from one seed.
@testable import Streams

/// Runs a broker in phases. First anything may stall, fail, die and be changed, and the broker may be stopped. Then nothing
/// goes wrong any more: everything must come to rest, work, and end, each within a limited time.
final class BrokerWorld {
  /// A mistake that the checks must find.
  enum Mistake: CaseIterable {
    /// A session is told another identity than its client has.
    case identity
    /// Admission gets a limit of one place more than configured.
    case places
    /// A client's packets bear the name of another client.
    case tag
  }

  enum Phase { case faults, rest, work, finish }

  let seed: UInt64
  let mistake: Mistake?
  let coverage: SessionCoverage?
  var random: Seed
  let loop: SimulatedLoop
  let plan: BrokerPlan
  var phase = Phase.faults

  // The broker.
  let pool = SegmentPool(capacity: 1024, spare: 8)
  var admission: Admission
  var memory: MemoryBudget
  var accepting = AcceptPause()
  var lifetime = Lifetime()
  var limits: BrokerLimits
  var settings: SessionSettings
  var addresses = ClientCounts()
  var subjects = ClientCounts()
  var helpers: Quota
  var meters: [StreamKind: Meter] = [:]
  var lastID: UInt64 = 0
  lazy var admissionAlarm = SimulatedAlarm(on: loop) { [unowned self] in lookForPlaces() }
  lazy var acceptAlarm = SimulatedAlarm(on: loop) { [unowned self] in resumeAccepting() }
  lazy var lifeAlarm = SimulatedAlarm(on: loop) { [unowned self] in lifeTimeUp() }
  lazy var hangUpAlarm = SimulatedAlarm(on: loop) { [unowned self] in lookForHangUps() }

  // What is around it.
  var arrivals: [Arrival] = []
  let daemons: [String: SimulatedDaemon]
  /// By path, in an order that does not depend on the process.
  let daemonPaths: [String]
  var descriptors: Int
  var checks: AdmissionChecks
  var seen = BrokerChecks()

  init(seed: UInt64, coverage: SessionCoverage? = nil, mistake: Mistake? = nil) {
    self.seed = seed
    self.mistake = mistake
    self.coverage = coverage
    // Neighbouring seeds would draw the same numbers, one place apart.
    random = Seed(seed &* 0xA24B_AED4_963E_E407)
    plan = BrokerPlan(&random)
    loop = SimulatedLoop(seed: random.next())
    limits = plan.limits
    settings = plan.session
    descriptors = plan.descriptors
    admission = Admission(
      gates: plan.listeners.count,
      mostClients: plan.limits.clients + (mistake == .places ? 1 : 0),
      mostUnauthenticated: plan.limits.anonymous, mostWaiting: plan.limits.waiting)
    memory = MemoryBudget(total: plan.limits.segments * pool.capacity)
    helpers = Quota(total: plan.helpers.total, share: plan.helpers.share)
    checks = AdmissionChecks(plan.limits)
    daemonPaths =
      plan.daemons.map(\.target.path) + Driver.allCases.map { SessionWorld.path(of: $0) }
    daemons = Dictionary(
      daemonPaths.map { ($0, SimulatedDaemon(path: $0)) }, uniquingKeysWith: { first, _ in first })
    for (kind, rate) in zip([StreamKind.console, .upload, .download], plan.rates) {
      meters[kind] = Meter(rate: rate)
    }
    planGuests()
    planFaults()
    loop.schedule(in: plan.calmAt) { [unowned self] in becomeCalm() }
    occupancyChanged()
  }

  func seconds(_ least: Double, _ most: Double) -> Double {
    Double.random(in: least...most, using: &random)
  }

  func report(_ text: String) { loop.report(text) }

  // MARK: What is planned

  private func planGuests() {
    for _ in 0..<plan.guests {
      let (gate, origin) = plan.guest(&random)
      comes(origin, gate, in: seconds(0, plan.calmAt))
    }
    guard let flood = plan.flood else { return }
    let time = seconds(0, plan.calmAt)
    for _ in 0..<random.pick(3...8) {
      let (gate, origin) = plan.guest(&random, from: flood)
      comes(origin, gate, in: time + (random.once(in: 2) ? 0 : seconds(0, 1)))
    }
  }

  private func planFaults() {
    if let stopAt = plan.stopAt {
      loop.schedule(in: stopAt) { [unowned self] in stop() }
      // An impatient administrator.
      if random.once(in: 5) {
        loop.schedule(in: stopAt + seconds(0, 2)) { [unowned self] in stop() }
      }
    }
    if let drainAt = plan.drainAt {
      loop.schedule(in: drainAt) { [unowned self] in drain(within: plan.drainSeconds) }
      // An administrator changes the limit.
      if random.once(in: 5) {
        loop.schedule(in: drainAt + seconds(0, 5)) { [unowned self] in
          drain(within: random.once(in: 3) ? nil : Double(random.pick(0...5)))
        }
      }
    }
    for _ in 0..<plan.commands {
      loop.schedule(in: seconds(0, plan.calmAt)) { [unowned self] in command() }
    }
    guard !plan.isFaultless else { return }
    for _ in 0..<random.pick(0...3) {
      loop.schedule(in: seconds(0, plan.calmAt)) { [unowned self] in troubleDaemon() }
    }
    if plan.descriptors < 1000 {
      descriptors = 1000
      loop.schedule(in: seconds(0, plan.calmAt)) { [unowned self] in
        if phase == .faults { descriptors = plan.descriptors }
      }
    }
  }

  func comes(_ origin: Origin, _ gate: Int, in seconds: Double, isLate: Bool = false) {
    loop.schedule(in: seconds) { [unowned self] in
      let arrival = Arrival(
        number: arrivals.count + 1, gate: gate, origin: origin, at: loop.now, isLate: isLate)
      arrivals.append(arrival)
      connects(arrival)
    }
  }

  // MARK: Trouble

  /// What an administrator does.
  func command() {
    guard phase == .faults, !lifetime.isStopping else { return }
    switch random.pick(0...4) {
    case 0:
      let clients = arrivals.filter { $0.session != nil }
      if let client = clients.randomElement(using: &random) { close(client) }
    case 1:
      change(BrokerLimits(&random))
    case 2:
      settings = SessionPlan.settings(&random)
      for arrival in arrivals {
        guard let session = arrival.session else { continue }
        note(arrival, "settings")
        session.driver.relay.maxRequests = limits.requests
        session.post(.settings(settings))
      }
    case 3:
      var narrow = limits
      narrow.segments = random.pick(3...8)
      change(narrow)
    default: changeRates()
    }
  }

  private func close(_ arrival: Arrival) {
    guard let session = arrival.session else { return }
    note(arrival, "closed")
    session.post(.end(Message(.simulated)))
  }

  /// One of the daemons dies and is started again, or answers nothing for a while.
  func troubleDaemon() {
    guard phase == .faults,
      let daemon = daemons[daemonPaths[random.pick(0...daemonPaths.count - 1)]]
    else { return }
    loop.tell("daemon \(daemon.path)")
    if random.once(in: 3) {
      daemon.hang()
      loop.schedule(in: seconds(0.1, 20)) { daemon.wake() }
    } else {
      daemon.die(&random)
      loop.schedule(in: seconds(0, 10)) { daemon.start() }
    }
  }

  /// A session is in a state that does not last long.
  func disturb(_ session: SessionWorld) {
    guard phase == .faults else { return }
    loop.schedule(in: random.once(in: 2) ? 0 : seconds(0, 1)) { [unowned self] in
      guard phase == .faults else { return }
      switch random.pick(0...9) {
      case 0 where random.once(in: 3): stop()
      case 1...3: if !session.client.isDead { session.client.vanish() }
      case 4, 5: if let arrival = session.arrival { close(arrival) }
      case 6: troubleDaemon()
      default: command()
      }
    }
  }

  private func changeRates() {
    for (_, meter) in meters.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      meter.change(rate: random.once(in: 3) ? 0 : random.pick(8...60) * 1000)
    }
    for session in arrivals.compactMap(\.session) where !session.isOver {
      session.driver.relay.meterStreams()
      session.turn { session.driver.settle(at: loop.now) }
    }
  }

  // MARK: Phases

  private func becomeCalm() {
    guard phase == .faults else { return }
    loop.tell("calm")
    phase = .rest
    descriptors = 1000
    for path in daemonPaths {
      daemons[path]?.start()
      daemons[path]?.wake()
    }
    for arrival in arrivals { arrival.session?.becomeCalm() }
    resumeAccepting()
  }

  /// Sessions that can, and clients that come only now, do some work.
  private func beginWork() {
    phase = .work
    seen.workFrom = loop.now
    // The clients that come only now have come by then.
    loop.schedule(in: 1.01) {}
    for session in arrivals.compactMap(\.session) where !session.isOver && session.canWork {
      session.beginWork()
    }
    guard lifetime.acceptsClients else { return }
    for _ in 0..<random.pick(1...2) {
      let (gate, origin) = plan.guest(&random)
      comes(origin, gate, in: seconds(0, 1), isLate: true)
    }
  }

  private func beginFinish() {
    phase = .finish
    if random.once(in: 3) { return stop() }
    for arrival in arrivals where !arrival.isOver { leavesSoon(arrival) }
  }

  /// Whatever becomes of it, its client leaves before long.
  func leavesSoon(_ arrival: Arrival) {
    loop.schedule(in: seconds(0, 3)) {
      switch arrival.stage {
      case .client(let session): if !session.isOver { session.finish() }
      // It is patient, and has its turn when it has a place.
      case .waiting, .queued, .shaking, .confirming, .over: break
      }
    }
  }

  private var isAtRest: Bool {
    arrivals.allSatisfy { arrival in
      switch arrival.stage {
      case .queued, .shaking, .confirming: false
      case .waiting: !arrival.hasLeft
      case .client(let session): session.isAtRest
      case .over: true
      }
    }
  }

  private var isWorkDone: Bool {
    arrivals.allSatisfy { arrival in
      switch arrival.stage {
      case .queued, .shaking, .confirming: false
      case .waiting: !arrival.hasLeft
      case .client(let session):
        session.phase != .work || session.isWorkDone || arrival.wasStarved || !session.canWork
      case .over: true
      }
    }
  }

  /// Runs to the end of the broker. What was wrong, or nil.
  func run() -> String? {
    func run(_ name: String, until isDone: () -> Bool, within seconds: Double) {
      let limit = loop.now + seconds
      while lifetime.state != .over, loop.problem == nil, !isDone() {
        loop.step()
        stepEnded()
        if loop.steps > 60_000 { report("it does not come to an end in phase \(name)") }
        if loop.now > limit { report("\(name) takes more than \(seconds) s: \(stages)") }
      }
    }
    run("the phase of faults", until: { phase == .rest }, within: 1000)
    run("coming to rest", until: { isAtRest }, within: 90)
    if loop.problem == nil, lifetime.state != .over {
      beginWork()
      run("the work", until: { isWorkDone && loop.now > seen.workFrom + 1 }, within: 120)
    }
    if loop.problem == nil, lifetime.state != .over {
      beginFinish()
      run("the end", until: { arrivals.allSatisfy(\.isOver) }, within: 600)
      if loop.problem == nil, lifetime.state != .over {
        if plan.idleSeconds > 0 {
          run("idling", until: { false }, within: Double(plan.idleSeconds) + 1)
        } else {
          stop()
        }
      }
    }
    checkEnd()
    loop.end()
    arrivals = []
    return loop.problem.map { "seed \(seed) at \(loop.now): \($0)" }
  }

  private var stages: String {
    arrivals.filter { !$0.isOver }.map { arrival in
      "\(arrival.number) \(arrival.session.map { "\($0.session.state.name) \($0.phase)" } ?? arrival.stage.name)"
    }.joined(separator: ", ")
  }
}
