// What admission promises, checked by books of the simulation's own.
@testable import Streams

/// Follows each connection by what admission is told and by what it decides, and finds decisions that break a promise.
struct AdmissionChecks {
  private enum Stage { case waiting, unauthenticated, authenticated }

  private struct Candidate {
    let id: UInt64
    let origin: Origin
    let gate: Int
    let mustLogIn: Bool
    let since: Double
    var stage = Stage.waiting
  }

  /// The loop may be late by this much.
  private static let slack = 0.25

  var mostClients: Int
  var mostUnauthenticated: Int
  var mostWaiting: Int
  /// In the order they came.
  private var candidates: [Candidate] = []
  private(set) var problem: String?
  /// Connections that waited when the last limit became narrower.
  private var waitingAllowed = 0

  init(_ limits: BrokerLimits) {
    mostClients = limits.clients
    mostUnauthenticated = limits.anonymous
    mostWaiting = limits.waiting
  }

  // MARK: Books

  var admittedCount: Int { candidates.count { $0.stage != .waiting } }
  var waitingCount: Int { candidates.count { $0.stage == .waiting } }
  func unauthenticated(at gate: Int) -> Int { held(at: [gate], by: nil) }
  var isEmpty: Bool { candidates.isEmpty }

  private func held(at gates: Set<Int>?, by origin: Origin?) -> Int {
    candidates.count {
      $0.stage == .unauthenticated && gates?.contains($0.gate) != false
        && (origin == nil || $0.origin == origin)
    }
  }

  private func isFull(gate: Int) -> Bool {
    mostUnauthenticated > 0 && held(at: [gate], by: nil) >= mostUnauthenticated
  }

  private var isFull: Bool { admittedCount >= mostClients }

  private func has(_ origin: Origin) -> Bool {
    candidates.contains { $0.origin == origin && $0.stage != .waiting }
  }

  mutating func narrow(_ limits: BrokerLimits) {
    mostClients = limits.clients
    mostUnauthenticated = limits.anonymous
    mostWaiting = limits.waiting
    waitingAllowed = waitingCount
  }

  // MARK: Events

  mutating func arrived(
    _ id: UInt64, from origin: Origin, at gate: Int, mustLogIn: Bool, now: Double
  ) {
    candidates.append(
      Candidate(id: id, origin: origin, gate: gate, mustLogIn: mustLogIn, since: now))
  }

  mutating func authenticated(_ id: UInt64) {
    guard let index = candidates.firstIndex(where: { $0.id == id }),
      candidates[index].stage == .unauthenticated
    else { return }
    candidates[index].stage = .authenticated
  }

  mutating func gone(_ id: UInt64) { candidates.removeAll { $0.id == id } }

  // MARK: Decisions

  /// Admission has decided this. Places are given out and taken as it says.
  mutating func decided(_ actions: [Admission.Action], now: Double, sheds: Bool = false) {
    // What is dropped for want of descriptors is the first.
    for (index, action) in actions.enumerated() {
      let next = index + 1 < actions.count ? actions[index + 1] : nil
      switch action {
      case .admit(let id):
        admitted(id, takesPlace: index > (sheds ? 1 : 0) ? actions[index - 1] : nil)
      case .drop(let id): dropped(id, before: next, now: now, sheds: sheds && index == 0)
      }
    }
    waitingAllowed = min(waitingAllowed, waitingCount)
    if waitingCount > max(mostWaiting, waitingAllowed) {
      fail("\(waitingCount) connections wait, of at most \(mostWaiting)")
    }
    checkWaiting(now: now)
  }

  private mutating func fail(_ text: String) { problem = problem ?? text }

  private mutating func admitted(_ id: UInt64, takesPlace before: Admission.Action?) {
    guard let index = candidates.firstIndex(where: { $0.id == id }),
      candidates[index].stage == .waiting
    else { return fail("connection \(id) gets a place and does not wait for one") }
    let candidate = candidates[index]
    var isForced = false
    if case .drop = before { isForced = true }
    // A place that was taken from another one was there before, also where the limit is lower by now.
    if isFull, !isForced, !candidate.origin.isRoot || has(candidate.origin) {
      fail("connection \(id) gets a place beyond the \(mostClients) there are")
    }
    if candidate.mustLogIn, !isForced, isFull(gate: candidate.gate) {
      fail("connection \(id) gets a place beyond the \(mostUnauthenticated) of its gate")
    }
    checkOrder(candidate, isForced: isForced)
    candidates[index].stage = candidate.mustLogIn ? .unauthenticated : .authenticated
  }

  /// The origin with the fewest places comes first, then the connection that came first.
  private mutating func checkOrder(_ candidate: Candidate, isForced: Bool) {
    let own = held(at: [candidate.gate], by: candidate.origin)
    for other in candidates
    where other.stage == .waiting && other.id != candidate.id && other.gate == candidate.gate
      && other.mustLogIn == candidate.mustLogIn
    {
      if other.origin == candidate.origin, other.id < candidate.id {
        fail("connection \(candidate.id) overtakes \(other.id)")
      }
      // The rule holds only for free places: not for one taken from another connection, nor beyond the limit.
      guard !isForced, !isFull else { continue }
      let others = held(at: [other.gate], by: other.origin)
      if others < own || (others == own && other.id < candidate.id) {
        fail("connection \(candidate.id) comes before \(other.id), whose origin has fewer places")
      }
    }
  }

  private mutating func dropped(
    _ id: UInt64, before next: Admission.Action?, now: Double, sheds: Bool
  ) {
    guard let index = candidates.firstIndex(where: { $0.id == id }) else {
      return fail("connection \(id) is dropped, which is not there")
    }
    let victim = candidates[index]
    switch victim.stage {
    case .authenticated: fail("connection \(id) is dropped, though it has logged in")
    case .waiting: checkSurplus(victim, sheds: sheds)
    case .unauthenticated:
      if victim.origin.isRoot { fail("a connection of root's is dropped") }
      if sheds {
        checkBusiest(victim, at: nil, but: nil)
        if held(at: nil, by: victim.origin) < 2 { fail("the last of its origin is dropped") }
      } else if case .admit(let id) = next, let newcomer = candidates.first(where: { $0.id == id })
      {
        checkVictim(victim, for: newcomer, now: now)
      } else {
        fail("connection \(id) is dropped, and no connection gets its place")
      }
    }
    candidates.remove(at: index)
  }

  /// The oldest of those that wait, of the origin of which most do.
  private mutating func checkSurplus(_ victim: Candidate, sheds: Bool) {
    let waiting = candidates.filter { $0.stage == .waiting && !$0.origin.isRoot }
    if !sheds, waitingCount <= mostWaiting { fail("connection \(victim.id) need not be dropped") }
    guard !waiting.isEmpty || sheds else { return }
    let counts = Dictionary(waiting.map { ($0.origin, 1) }, uniquingKeysWith: +)
    if sheds, counts[victim.origin] ?? 0 < 2 {
      fail("the last that waits of its origin is dropped")
    }
    if counts[victim.origin] != counts.values.max() {
      fail("connection \(victim.id) is dropped, though another origin has more that wait")
    }
    if waiting.contains(where: { $0.origin == victim.origin && $0.id < victim.id }) {
      fail("connection \(victim.id) is dropped, which is not the oldest")
    }
  }

  /// The oldest of the busiest origin.
  private mutating func checkBusiest(_ victim: Candidate, at gates: Set<Int>?, but: Origin?) {
    let own = held(at: gates, by: victim.origin)
    for other in candidates
    where other.stage == .unauthenticated && gates?.contains(other.gate) != false
      && !other.origin.isRoot && other.origin != but
    {
      let count = held(at: gates, by: other.origin)
      if count > own {
        fail("connection \(victim.id) is dropped, though \(other.origin) has more")
      } else if count == own, other.id < victim.id {
        fail("connection \(victim.id) is dropped, though \(other.id) is older")
      }
    }
  }

  private mutating func checkVictim(_ victim: Candidate, for newcomer: Candidate, now: Double) {
    let gates: Set<Int>? =
      newcomer.mustLogIn && isFull(gate: newcomer.gate) ? [newcomer.gate] : nil
    if let gates, !gates.contains(victim.gate) { fail("\(victim.id) has no place of that gate") }
    if gates == nil, !isFull { fail("connection \(victim.id) is dropped, though places are free") }
    checkBusiest(victim, at: gates, but: newcomer.origin)
    let own = held(at: gates, by: newcomer.origin)
    if victim.origin == newcomer.origin
      || (own > 0 && own + 1 >= held(at: gates, by: victim.origin))
    {
      fail("connection \(victim.id) is dropped for \(newcomer.id), whose origin has as many")
    }
    if !newcomer.origin.isRoot, now < victim.since + Admission.graceSeconds - 0.001 {
      fail("connection \(victim.id) is dropped within its grace")
    }
  }

  // MARK: No connection waits while a place is free

  /// A connection that waits has no place that it could have.
  mutating func checkWaiting(now: Double) {
    for candidate in candidates where candidate.stage == .waiting {
      let isAtGate = candidate.mustLogIn && isFull(gate: candidate.gate)
      let isNew = !has(candidate.origin)
      if !isFull, !isAtGate {
        fail("connection \(candidate.id) waits, though a place is free")
      } else if isFull, !isAtGate, isNew, candidate.origin.isRoot, mostClients > 0 {
        fail("root waits, and has no client")
      } else if isAtGate ? (!isFull || isNew || candidate.origin.isRoot) : isNew && mostClients > 0
      {
        checkCouldTake(candidate, at: isAtGate ? [candidate.gate] : nil, now: now)
      }
    }
  }

  /// The busiest origin has a place that this connection has a right to.
  private mutating func checkCouldTake(_ candidate: Candidate, at gates: Set<Int>?, now: Double) {
    let others = candidates.filter {
      $0.stage == .unauthenticated && gates?.contains($0.gate) != false && !$0.origin.isRoot
        && $0.origin != candidate.origin
    }
    let counts = Dictionary(others.map { ($0.origin, 1) }, uniquingKeysWith: +)
    let own = held(at: gates, by: candidate.origin)
    guard let most = counts.values.max(), own == 0 || own + 1 < most,
      let oldest = others.filter({ counts[$0.origin] == most }).min(by: { $0.id < $1.id })
    else { return }
    let takesAt = oldest.since + (candidate.origin.isRoot ? 0 : Admission.graceSeconds)
    if now > takesAt + AdmissionChecks.slack, now > candidate.since + AdmissionChecks.slack {
      fail("connection \(candidate.id) waits, though it has a right to the place of \(oldest.id)")
    }
  }
}
