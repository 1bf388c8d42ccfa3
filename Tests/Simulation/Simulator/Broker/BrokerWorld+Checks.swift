// What must hold in every simulated broker, while it runs and at its end.
@testable import Streams

/// What the checks have to remember of a simulated broker.
struct BrokerChecks {
  var stoppedAt: Double?
  var drainedAt: Double?
  /// When the drain becomes a stop; nil: it has no time limit.
  var drainUntil: Double?
  var emptySince: Double?
  /// Bytes that may be held: the limit, or what was held when it became narrower.
  var memoryAllowed = Int.max
  /// Clients that have to end, and have not ended yet.
  var victims: Set<UInt64> = []
  var workFrom = 0.0
}

extension BrokerWorld {
  private static let slack = 0.5

  /// Of every step.
  func stepEnded() {
    for session in loop.takeEnded() { session.checkEnd() }
    if lifetime.state == .over { return }
    checkPlaces()
    checkMemory()
    checkTimes()
  }

  private func checkPlaces() {
    guard lifetime.acceptsClients else { return }
    if admission.admittedCount != checks.admittedCount
      || admission.waitingCount != checks.waitingCount
    {
      report("admission counts \(admission.admittedCount) clients and \(admission.waitingCount)")
    }
    let clients = arrivals.count { arrival in
      switch arrival.stage {
      case .client, .confirming: true
      case .queued, .shaking, .waiting, .over: false
      }
    }
    if clients != checks.admittedCount {
      report("\(clients) clients have a place, and \(checks.admittedCount) were given one")
    }
    for gate in plan.listeners.indices
    where admission.unauthenticated(at: gate) != checks.unauthenticated(at: gate) {
      report("admission counts \(admission.unauthenticated(at: gate)) unauthenticated at \(gate)")
    }
    checks.checkWaiting(now: loop.now)
    if let found = checks.problem { report(found) }
  }

  private func checkMemory() {
    let held = pool.heldCount * pool.capacity
    if held != memory.used { report("\(held) bytes are held, and \(memory.used) are counted") }
    let ofOthers = arrivals.filter { !$0.origin.isRoot }.reduce(0) { $0 + $1.heldBytes }
    if memory.used > max(memory.total, seen.memoryAllowed), ofOthers > 0 {
      report("\(memory.used) bytes are held, of at most \(memory.total)")
    }
  }

  private func checkTimes() {
    if lifetime.isStopping, clientCount == 0 { report("it stops, and waits for no client") }
    if let since = seen.stoppedAt, loop.now > since + plan.stopSeconds + BrokerWorld.slack {
      report("it was stopped \(loop.now - since) s ago, and has not ended")
    }
    if lifetime.isDraining {
      if clientCount == 0 { report("it drains, and waits for no client") }
      if let until = seen.drainUntil, loop.now > until + BrokerWorld.slack {
        report("the time of the drain was up at \(until), and it does not stop")
      }
      if !lifetime.acceptsClients, arrivals.contains(where: \.isPending) {
        report("a connection without a place is kept while the broker drains")
      }
    }
    if let since = seen.emptySince, lifetime.acceptsClients, plan.idleSeconds > 0,
      loop.now > since + Double(plan.idleSeconds) + BrokerWorld.slack
    {
      report("it is idle since \(since), and has not stopped")
    }
  }

  /// Clients that have to end for a client that holds more than before.
  func checkVictims(_ victims: [UInt64], _ grown: Arrival, by bytes: Int) {
    if bytes < 0, !victims.isEmpty { report("clients have to end, though less is held") }
    for id in victims {
      guard let victim = arrivals.first(where: { $0.id == id && !$0.isOver }) else {
        report("client \(id) has to end for memory, and is not there")
        continue
      }
      if victim.origin.isRoot { report("a client of root's has to end for memory") }
      let isLarger = arrivals.contains { other in
        !other.isOver && other.origin == victim.origin && other.heldBytes > victim.heldBytes
          && !(other.id.map(victims.contains) ?? false)
      }
      if isLarger { report("client \(id) has to end for memory, and does not hold the most") }
      let own = memory.used(by: victim.origin)
      guard victim.origin != grown.origin || own <= memory.share else { continue }
      if memory.used <= memory.total { report("client \(id) has to end with memory to spare") }
      let isBusier = arrivals.contains { other in
        !other.isOver && !other.origin.isRoot && memory.used(by: other.origin) > own
          && !arrivals.contains { gone in
            gone.origin == other.origin && (gone.id.map(victims.contains) ?? false)
          }
      }
      if isBusier { report("client \(id) has to end for memory, and another origin holds more") }
    }
    // Those that have to end for an earlier growth are about to.
    let ending = seen.victims.union(victims)
    let left = arrivals.reduce(0) { sum, arrival in
      arrival.id.map(ending.contains) == true ? sum : sum + arrival.heldBytes
    }
    let isOthers = arrivals.contains {
      !$0.origin.isRoot && $0.heldBytes > 0 && !($0.id.map(ending.contains) ?? false)
    }
    if left > max(memory.total, seen.memoryAllowed), isOthers {
      report("\(left) bytes are held, of at most \(memory.total), and no client has to end")
    }
    checkNeed(of: victims, grown, by: bytes, leaving: left)
    guard !grown.origin.isRoot, bytes > 0 else { return }
    let all = arrivals.filter { $0.origin == grown.origin }
    let before = all.reduce(-bytes) { $0 + $1.heldBytes }
    let own = all.reduce(0) { $0 + ($1.id.map(victims.contains) == true ? 0 : $1.heldBytes) }
    if own > max(memory.share, before) {
      report("\(grown.origin) holds \(own) bytes, of at most \(memory.share)")
    }
  }

  /// The last of those that have to end is not one too many.
  private func checkNeed(
    of victims: [UInt64], _ grown: Arrival, by bytes: Int, leaving left: Int
  ) {
    guard let last = arrivals.first(where: { $0.id != nil && $0.id == victims.last }) else {
      return
    }
    let total = max(memory.total, memory.used - bytes)
    let share = max(memory.share, memory.used(by: grown.origin) - bytes)
    let own = arrivals.reduce(0) { sum, arrival in
      let isGone = arrival !== last && arrival.id.map(victims.contains) == true
      return arrival.origin == grown.origin && !isGone ? sum + arrival.heldBytes : sum
    }
    let isForShare = last.origin == grown.origin && !grown.origin.isRoot && own > share
    if left + last.heldBytes <= total, !isForShare {
      report("client \(last.number) has to end for memory, though there is enough without")
    }
  }

  /// Programs for connections to other hosts are shared fairly.
  func checkHelpers(_ origin: Origin, _ count: Int, isReserved: Bool, used: Int, own: Int) {
    let (total, share) = plan.helpers
    let isFree =
      used + count <= total
      && (origin.isRoot
        || (own + count <= min(share, total) && (own == 0 || used + count <= total - total / 8)))
    if isReserved != isFree {
      report("\(own) of \(used) helpers are \(origin)'s, and it gets one: \(isReserved)")
    }
  }

  // MARK: The end

  func checkEnd() {
    for session in loop.takeEnded() { session.checkEnd() }
    guard loop.problem == nil else { return }
    if lifetime.state != .over { report("the broker is not over: \(lifetime.state)") }
    for arrival in arrivals where !arrival.isOver {
      report("connection \(arrival.number) is not over: \(arrival.stage.name)")
    }
    if pool.heldCount != 0 { report("\(pool.heldCount) segments are still held") }
    if memory.used != 0 { report("\(memory.used) bytes are still counted") }
    if helpers.used != 0 { report("\(helpers.used) programs are still counted") }
    for arrival in arrivals {
      if memory.used(by: arrival.origin) != 0 { report("memory is counted for \(arrival.origin)") }
      if helpers.used(by: arrival.origin) != 0 { report("programs of \(arrival.origin) are left") }
    }
    guard seen.stoppedAt == nil, seen.drainedAt == nil else { return }
    if admission.admittedCount + admission.waitingCount != 0 { report("places are still taken") }
  }
}
