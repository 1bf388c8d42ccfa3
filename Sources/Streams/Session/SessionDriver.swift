// Connects the state machine of a session to its relay and its host.

/// Carries out a session's actions: connects, asks services, counts, logs. One implementation uses sockets, another
/// is the simulator.
public protocol SessionHost: RelayObserver {
  /// Carries out an action. The host reports the result to the driver by `post`, now or later.
  func perform(_ action: SessionAction)
  /// The session's deadline has changed, or its timer has fired and must be set again; nil: no deadline.
  func deadlineChanged(to deadline: Double?)
  /// The turn is over. The host updates what it watches the sockets for.
  func turnEnded()
  /// Why a connection is over: the client's if `upstream` is nil, else that upstream's.
  func message(for end: LinkEnd, upstream: Int?) -> Message
}

/// Runs one session. Turns of the relay become events of the state machine. The driver carries out the machine's
/// actions after it has returned. Neither is re-entered while it runs.
public final class SessionDriver: RelayOwner {
  public private(set) var session: Session
  private unowned(unsafe) let host: any SessionHost
  private var madeRelay: Relay?
  /// Events not handled yet.
  private var events: [SessionEvent] = []
  private var isBusy = false
  /// `isOver` and `awaitsProgress` of the session, read once per event instead of in each turn.
  public private(set) var isOver = false
  private var awaitsProgress = false
  private var hasClientEnded = false
  private var deadline: Double?
  /// The upstream in each slot of the relay; 0: none.
  private var ids: [Int] = []
  private var now = 0.0

  /// - Parameter host: must outlive the driver.
  public init(
    _ session: Session, host: any SessionHost, client transport: any Transport, pool: SegmentPool,
    maxRequests: Int, watermarks: Watermarks = Watermarks(),
    largestWhole: Int = Limits.usualPacket
  ) {
    self.session = session
    self.host = host
    deadline = session.deadline
    madeRelay = Relay(
      client: transport, owner: self, pool: pool, maxRequests: maxRequests, watermarks: watermarks,
      largestWhole: largestWhole)
    madeRelay?.keepsCalls = session.settings.reconnect != .never
  }

  // MARK: Moving to another process

  /// A driver for a session that another process has written.
  /// - Parameters:
  ///   - settings: those of this process.
  ///   - upstream: the connection of the upstream with this number, which the session has.
  /// - Throws: the snapshot is damaged. The descriptors that were read belong to the coder's owner again.
  public convenience init(
    from coder: inout SnapshotCoder, _ settings: SessionSettings, host: any SessionHost,
    client transport: any Transport, pool: SegmentPool, maxRequests: Int,
    watermarks: Watermarks = Watermarks(), largestWhole: Int = Limits.usualPacket,
    upstream: (Int) -> (any Transport)?
  ) throws(Violation) {
    var session = Session(settings)
    try session.code(&coder)
    self.init(
      session, host: host, client: transport, pool: pool, maxRequests: maxRequests,
      watermarks: watermarks, largestWhole: largestWhole)
    do throws(Violation) {
      try codeRelay(&coder, upstream)
    } catch {
      relay.abandon()
      throw error
    }
    deadline = nil
  }

  /// Whether the session can be moved to another process now.
  public var mobility: Mobility {
    guard !isOver, !hasClientEnded, events.isEmpty else { return .stays }
    let mobility = session.mobility
    return mobility == .movable && !relay.isMovable ? .notYet : mobility
  }

  /// Writes a movable session. This does not change the session.
  public func write(to coder: inout SnapshotCoder) throws(Violation) {
    try session.code(&coder)
    try codeRelay(&coder) { _ in nil }
  }

  private func codeRelay(
    _ coder: inout SnapshotCoder, _ upstream: (Int) -> (any Transport)?
  ) throws(Violation) {
    try coder.code(&ids, initially: 0) { (id, coder) throws(Violation) in try coder.code(&id) }
    let known = Set(session.upstreams.map(\.id))
    let used = ids.filter { $0 != 0 }
    guard Set(used) == known, used.count == known.count else {
      throw Violation(.snapshotValueInvalid, [ids.count, "the session's upstreams"])
    }
    let ids = ids
    try relay.code(&coder) { slot in
      ids.indices.contains(slot) ? upstream(ids[slot]) : nil
    }
    let slots = relay.upstreamSlots
    guard ids.indices.allSatisfy({ (ids[$0] != 0) == slots.contains($0) }) else {
      throw Violation(.snapshotValueInvalid, [ids.count, "the relay's upstreams"])
    }
  }

  /// Begins a session that was read: sets its timer, and sends and routes what is possible.
  public func begin(restoredAt now: Double) {
    relay.isHeld = session.isHeld
    relay.keepsCalls = session.settings.reconnect != .never
    awaitsProgress = session.awaitsProgress
    deadline = session.deadline
    host.deadlineChanged(to: deadline)
    settle(at: now)
  }

  /// Another process has taken the session over: everything is released, and no descriptor is closed.
  public func abandon() {
    isOver = true
    events = []
    relay.abandon()
  }

  /// Created after the driver, because the driver is its owner.
  public var relay: Relay {
    guard let madeRelay else { preconditionFailure("the initializer has made the relay") }
    return madeRelay
  }

  // MARK: Turns

  /// The client's socket is ready.
  public func clientReady(_ ready: Interest, at now: Double) {
    begin(at: now)
    if ready.contains(.read) { session.heard(at: now) }
    relay.clientReady(ready)
    finishTurn()
  }

  /// An upstream's socket is ready.
  public func upstreamReady(_ slot: Int, _ ready: Interest, at now: Double) {
    begin(at: now)
    let received = relay.receivedFromClient
    relay.upstreamReady(slot, ready)
    if relay.receivedFromClient != received { session.heard(at: now) }
    finishTurn()
  }

  /// Routes and sends what is possible after a change that did not come from a socket.
  public func settle(at now: Double) {
    begin(at: now)
    relay.settle()
    finishTurn()
  }

  /// The client has not been read for a while. Bytes behind a bulk upload that does not move are received as far as the
  /// watermarks allow, so that a PING among them is answered.
  public func readAhead(at now: Double) {
    guard relay.isUploadingByPipe else { return }
    begin(at: now)
    relay.endBulkUpload()
    finishTurn()
  }

  /// Handles an event at once, or right after the events that are being handled.
  public func post(_ event: SessionEvent, at now: Double) {
    events.append(event)
    guard !isBusy else { return }
    begin(at: now)
    finishTurn()
  }

  private func begin(at now: Double) {
    self.now = now
    relay.now = now
    isBusy = true
  }

  private func finishTurn() {
    var hasProgressed = false
    while !isOver {
      if let end = relay.clientEnd, !hasClientEnded {
        hasClientEnded = true
        events.append(.clientEnded(end, host.message(for: end, upstream: nil)))
      }
      if !events.isEmpty {
        hasProgressed = false
        handleEvents()
      } else if awaitsProgress, !hasProgressed {
        hasProgressed = true
        handle(.progress)
      } else {
        break
      }
    }
    isBusy = false
    if isOver { events = [] } else { host.turnEnded() }
  }

  /// Handles the collected events, then routes and sends what is possible.
  private func handleEvents() {
    let happened = events
    events = []
    for event in happened {
      handle(event)
      guard !isOver else { return }
      relay.isHeld = session.isHeld
      if case .call = event { relay.resume() }
    }
    relay.settle()
  }

  private func handle(_ event: SessionEvent) {
    let traffic = traffic
    let actions = session.handle(event, traffic, at: now)
    isOver = session.isOver
    relay.keepsCalls = session.settings.reconnect != .never
    awaitsProgress = session.awaitsProgress
    for action in actions { perform(action) }
    let deadline = session.deadline
    // A timer that has fired is always set again: it may have fired early.
    guard deadline != self.deadline || event == .time else { return }
    self.deadline = deadline
    host.deadlineChanged(to: deadline)
  }

  private var traffic: Session.Traffic {
    var traffic = Session.Traffic()
    traffic.sentToClient = relay.sentToClient
    traffic.waitingForClient = relay.waitingForClient
    traffic.waitingForUpstreams = relay.waitingForUpstreams
    traffic.unrouted = relay.unroutedFromClient
    traffic.awaitedCalls = relay.awaitedCount
    traffic.isClientPaused = relay.isClientPaused
    if session.isDraining { traffic.activity = relay.activity }
    return traffic
  }

  // MARK: Actions

  private func perform(_ action: SessionAction) {
    switch action {
    case .send(let packet): relay.reply(packet)
    case .beginRelaying: relay.isOpen = true
    case .route(let driver, .upstream(let id, let isLasting)):
      let route = slot(of: id).map { Route(slot: $0, isLasting: isLasting) }
      relay.provide(
        route.map { .success($0) }
          ?? .failure(RemoteError(.internalError, .clientSocketClosed)), for: driver)
    case .route(let driver, .none(let error)): relay.provide(.failure(error), for: driver)
    case .call(let id, let serial, let packet, let behindClient, let mayBeLarge):
      if let slot = slot(of: id) {
        relay.call(
          slot, serial: serial, packet, behindClient: behindClient, mayBeLarge: mayBeLarge)
      }
    case .openUpstream(let id): if let slot = slot(of: id) { relay.upstreamIsOpen(slot) }
    case .remove(let id, let error, let closedEvent):
      host.perform(action)
      guard let slot = slot(of: id) else { return }
      ids[slot] = 0
      relay.remove(upstream: slot, telling: error, closedEvent: closedEvent)
    case .park(let id, let successor, let error):
      host.perform(action)
      guard let slot = slot(of: id) else { return }
      ids[slot] = successor
      relay.park(upstream: slot, telling: error)
    case .registeredAgain(let id, let registration, let result):
      if let slot = slot(of: id) { relay.registeredAgain(slot, registration, body: result) }
    case .beginSurvey(let id, let objects):
      if let slot = slot(of: id) { relay.beginSurvey(slot, of: objects) }
    case .surveyed(let id, let objects, let list):
      if let slot = slot(of: id) { relay.surveyed(slot, objects, list) }
    case .resumeUpstream(let id, let mayMiss):
      guard let slot = slot(of: id), !relay.resume(upstream: slot, mayMiss: mayMiss) else { return }
      events.append(.upstream(id, .missedUnknown))
    case .discardClient: relay.discardClient()
    default: host.perform(action)
    }
  }

  // MARK: Upstreams

  /// Adds an upstream's connection to the relay, or provides a parked one with it. Returns its slot.
  public func attach(_ id: Int, _ transport: any Transport, at now: Double) -> Int {
    let parked = slot(of: id)
    let slot = parked ?? relay.add(upstream: transport)
    if parked != nil { relay.attach(upstream: slot, to: transport) }
    while ids.count <= slot { ids.append(0) }
    ids[slot] = id
    post(
      .upstream(id, .attached(carriesDescriptors: transport.carriesDescriptors)), at: now)
    return slot
  }

  /// The slot of an upstream; nil: it is not attached.
  public func slot(of id: Int) -> Int? { id > 0 ? ids.firstIndex(of: id) : nil }

  /// The upstream in a slot; nil: none.
  public func upstream(in slot: Int) -> Int? {
    ids.indices.contains(slot) && ids[slot] > 0 ? ids[slot] : nil
  }

  /// Ends all calls and connections of the relay.
  public func clear(at now: Double) {
    relay.now = now
    relay.clear()
    ids = []
  }

  // MARK: RelayOwner

  public func takes(_ call: PacketHeader, body: [UInt8]) -> Bool {
    guard session.takes(call, body: body) else { return false }
    events.append(.call(call, body: body))
    return true
  }

  public func route(to driver: Driver) -> Result<Route, RemoteError>? {
    events.append(.needsRoute(driver))
    return nil
  }

  public func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8]) {
    if let id = upstream(in: slot) { events.append(.upstream(id, .answered(reply, body: body))) }
  }

  public func upstream(_ slot: Int, isToSurvey objects: ObjectKind) {
    if let id = upstream(in: slot) { events.append(.upstream(id, .toSurvey(objects))) }
  }

  public func upstream(_ slot: Int, ended reason: LinkEnd) {
    guard let id = upstream(in: slot) else { return }
    events.append(
      .upstream(
        id, .ended(reason, host.message(for: reason, upstream: id), relay.dependents(of: slot))))
  }

  public var answerCounts: AnswerCounts? { host.answerCounts }
  public func wantsAnswers(to access: Access) -> Bool { host.wantsAnswers(to: access) }
  public func answered(_ call: Call, _ status: PacketStatus) { host.answered(call, status) }
  public func ended(_ call: Call, object: StreamObject?, _ result: StreamResult) {
    host.ended(call, object: object, result)
  }
  public func meters(for kind: StreamKind) -> [Meter] { host.meters(for: kind) }
}
