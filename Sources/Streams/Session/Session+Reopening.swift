// Keeps a client whose daemon is lost, until the daemon is back or the time is up.

extension Session {
  /// Whether nothing is hidden from the client if the broker connects to the daemon again: what the client had there and
  /// is gone with the connection would be missing without its notice. A daemon that has sent invalid bytes is not
  /// trusted again.
  func mayReopen(_ upstream: Upstream, _ end: LinkEnd, _ dependents: Dependents) -> Bool {
    if case .violation = end { return false }
    guard case .open = state, !isStopping, upstream.state == .ready, dependents.mayBeRestored
    else { return false }
    return switch settings.reconnect {
    case .safe: dependents.isWhole
    case .always: true
    case .never: false
    }
  }

  mutating func reopen(
    _ upstream: Upstream, _ error: RemoteError, _ reason: Message, _ dependents: Dependents
  ) {
    log(.upstream, .upstreamAwaited, [upstream.name, Int(settings.reconnectSeconds), reason])
    add(.note(.upstreamAwaited(upstream.id, reason)))
    replace(
      upstream,
      Upstream.Reopening(since: now, error: error, registrations: dependents.registrations),
      deadline: now + settings.reconnectSeconds)
  }

  /// An attempt to reach the daemon has failed. It may have been refused, because a daemon that starts refuses clients
  /// as well.
  mutating func attemptFailed(_ upstream: Upstream) {
    guard var reopening = upstream.reopening else { return }
    reopening.attempts += 1
    replace(upstream, reopening, deadline: upstream.deadline)
  }

  /// Each attempt is an upstream of its own, so that what is still reported of the last one is not taken for its.
  private mutating func replace(
    _ upstream: Upstream, _ reopening: Upstream.Reopening, deadline: Double
  ) {
    guard let index = upstreams.firstIndex(where: { $0.id == upstream.id }) else { return }
    let id = nextUpstream()
    upstreams[index] = upstream.successor(
      id, deadline: deadline, reopening, at: now, client.seed)
    if case .open(upstream.id) = state { state = .open(main: id) }
    add(
      .park(
        upstream: upstream.id, successor: id,
        RemoteError(.operationFailed, .outcomeUnknown, [upstream.name])))
  }

  /// It is time for the next attempt, or for the survey.
  mutating func proceedIfDue(_ index: Int) {
    guard upstreams.indices.contains(index) else { return }
    switch upstreams[index].state {
    case .resting(let until) where isDue(until):
      upstreams[index].state = .locating
      add(.reconnect(upstream: upstreams[index].id))
    case .settling(let until) where isDue(until):
      upstreams[index].state = .surveying
      add(.beginSurvey(upstream: upstreams[index].id, of: nil))
      list(index)
    default: break
    }
  }

  /// Time between the registrations at a daemon that is back and its survey. libvirt's daemons look for their guests
  /// after they have begun to serve clients, and report nothing of those that have died meanwhile.
  private static let settleSeconds = 1.0

  // MARK: Event registrations

  /// The daemon is back and knows the client. Its event registrations are made again, in their order.
  mutating func restore(_ index: Int) {
    registerAgain(index, upstreams[index].reopening?.registrations ?? [])
  }

  private mutating func registerAgain(_ index: Int, _ registrations: [Registration]) {
    guard let next = registrations.first else {
      let followed = Set(upstreams[index].reopening?.registrations.compactMap(\.objects) ?? [])
      upstreams[index].survey = []
      for objects in ObjectKind.allCases where followed.contains(objects) {
        upstreams[index].survey += Session.steps(objects)
      }
      guard followed.isEmpty else {
        upstreams[index].state = .settling(until: now + Session.settleSeconds)
        return
      }
      upstreams[index].state = .surveying
      return list(index)
    }
    var header = Session.header(next.procedure, upstreams[index].nextSerial())
    header.program = next.program
    call(
      index, header, Packets.make(header, arguments: next.arguments),
      then: .registering(rest: registrations))
  }

  mutating func registeredAgain(_ index: Int, _ registrations: [Registration], _ body: [UInt8]) {
    guard let made = registrations.first else { return }
    add(.registeredAgain(upstream: upstreams[index].id, made, result: body))
    registerAgain(index, Array(registrations.dropFirst()))
  }

  /// The client may not register any more, because rights have changed, or the daemon does not have the event.
  mutating func registrationRefused(_ upstream: Upstream, _ error: RemoteError) {
    guard let reopening = upstream.reopening else { return }
    log(.upstream, .registrationRefused, [upstream.name, error.cause])
    add(.note(.upstreamGivenUp(upstream.id)))
    lost(upstream, reopening.error, registrations: reopening.registrations)
  }

  mutating func missedUnknown(_ index: Int) {
    let upstream = upstreams[index]
    log(.upstream, .missedUnknown, [upstream.name])
    let error = RemoteError(.systemError, .missedUnknown, [upstream.name], int1: 5)
    // It has been reopened, and the client is told nothing else.
    lose(upstream.id, error, closedEvent: upstream.driver == nil)
    loseAll(error)
  }

  // MARK: Surveys

  private static func steps(_ objects: ObjectKind) -> [Upstream.SurveyStep] {
    objects.listings.map { Upstream.SurveyStep(objects: objects, listing: $0) }
  }

  /// The client follows these objects from now on. Their states are needed when the daemon is lost.
  mutating func survey(_ index: Int, _ objects: ObjectKind) {
    guard upstreams[index].state == .ready, settings.reconnect != .never else { return }
    let isIdle = upstreams[index].survey.isEmpty
    // An earlier survey of them was for registrations that have ended. Its list that is under way tells nothing.
    let rest = upstreams[index].survey.dropFirst().filter { $0.objects != objects }
    upstreams[index].survey = Array(upstreams[index].survey.prefix(1))
    if upstreams[index].survey.first?.objects == objects {
      upstreams[index].survey[0].isVoid = true
    }
    upstreams[index].survey += rest + Session.steps(objects)
    add(.beginSurvey(upstream: upstreams[index].id, of: objects))
    if isIdle { list(index) }
  }

  /// Asks for the next list.
  private mutating func list(_ index: Int) {
    guard let step = upstreams[index].survey.first else {
      if upstreams[index].state == .surveying { isReopened(index) }
      return
    }
    let header = Session.header(step.listing.procedure, upstreams[index].nextSerial())
    call(
      index, header,
      Packets.make(header, ListArguments(flags: step.listing.flags)), mayBeLarge: true,
      then: upstreams[index].state)
  }

  mutating func listed(_ index: Int, _ list: [UInt8]?) {
    guard let step = upstreams[index].survey.first else { return }
    upstreams[index].survey.removeFirst()
    if !step.isVoid { add(.surveyed(upstream: upstreams[index].id, step.objects, list: list)) }
    guard case .closing = state else { return self.list(index) }
    upstreams[index].survey = []
    closeNext()
  }

  // MARK: The end

  private mutating func isReopened(_ index: Int) {
    let upstream = upstreams[index]
    guard let reopening = upstream.reopening else { return }
    upstreams[index].reopening = nil
    upstreams[index].state = .ready
    add(.resumeUpstream(upstream.id, mayMiss: settings.reconnect == .always))
    add(.note(.upstreamReopened(upstream.id)))
    log(.upstream, .upstreamReopened, [upstream.name, Int((now - reopening.since) * 1000)])
  }

  /// The daemon has not come back in time. The calls that wait for it fail.
  mutating func giveUp(_ upstream: Upstream, _ reopening: Upstream.Reopening) {
    log(.upstream, .upstreamGivenUp, [upstream.name, Int(now - reopening.since)])
    add(.note(.upstreamFailed))
    add(.note(.upstreamGivenUp(upstream.id)))
    lost(upstream, reopening.error, registrations: reopening.registrations)
  }
}
