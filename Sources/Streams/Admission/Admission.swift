// Decides which connections are served, which wait, and which are dropped for others.

/// Admits connections. They arrive at gates (listeners). At most `mostClients` connections have a place. At each gate,
/// at most `mostUnauthenticated` of these are unauthenticated. Further connections wait.
///
/// An origin that floods a gate takes places only from itself. The busiest origin is the one with the most
/// unauthenticated connections at the gate. A waiting connection takes the place of that origin's oldest one if its own
/// origin has none there, or at least two fewer. A connection is dropped only after `graceSeconds`, so that many hosts
/// that connect at once can finish their logins. For root there is no grace. Root's connections are not dropped.
///
/// At `mostClients`, a connection whose origin has no client takes the place of an unauthenticated one in the same
/// way. If root has no client, its connection gets a place beyond the limit.
///
/// Among waiting connections, the origin with the fewest unauthenticated connections at the gate comes first, then the
/// oldest connection.
public struct Admission: Sendable {
  public enum Action: Equatable, Sendable {
    /// The connection has a place from now on.
    case admit(UInt64)
    /// The connection ends, because another one needs its place.
    case drop(UInt64)
  }

  /// How long an unauthenticated connection keeps its place, in seconds. Root need not wait for it.
  public static let graceSeconds = 1.0

  private enum Stage { case waiting, unauthenticated, authenticated }

  private struct Candidate {
    let origin: Origin
    let gate: Int
    let mustLogIn: Bool
    let since: Double
    var stage: Stage
  }

  /// The unauthenticated connections of one gate.
  private struct Gate {
    var counts: [Origin: Int] = [:]
    /// In order of arrival.
    var ids: [UInt64] = []
  }

  /// The most connections that have a place.
  public var mostClients: Int
  /// The most unauthenticated connections at each gate; 0: no limit.
  public var mostUnauthenticated: Int
  /// The most connections that wait, at all gates together. Above the limit, the oldest connection of the origin with
  /// the most waiting connections is dropped.
  public var mostWaiting: Int

  private var candidates: [UInt64: Candidate] = [:]
  private var gates: [Gate]
  /// Connections with a place, by origin.
  private var counts: [Origin: Int] = [:]
  public private(set) var admittedCount = 0
  /// In order of arrival.
  private var waiting: [UInt64] = []
  /// When the next grace period ends that a waiting connection depends on; nil: none.
  public private(set) var nextCheck: Double?

  public init(gates: Int, mostClients: Int, mostUnauthenticated: Int, mostWaiting: Int) {
    self.gates = (0..<gates).map { _ in Gate() }
    self.mostClients = mostClients
    self.mostUnauthenticated = mostUnauthenticated
    self.mostWaiting = mostWaiting
  }

  public var waitingCount: Int { waiting.count }
  public var isFull: Bool { admittedCount >= mostClients }
  public func unauthenticated(at gate: Int) -> Int { gates[gate].ids.count }
  public func isFull(gate: Int) -> Bool {
    mostUnauthenticated > 0 && gates[gate].ids.count >= mostUnauthenticated
  }

  // MARK: Events

  /// A connection requests a place.
  /// - Parameters:
  ///   - id: larger than every one before.
  ///   - mustLogIn: it counts as unauthenticated until `authenticated`.
  public mutating func request(
    _ id: UInt64, from origin: Origin, at gate: Int, mustLogIn: Bool, now: Double
  ) -> [Action] {
    candidates[id] = Candidate(
      origin: origin, gate: gate, mustLogIn: mustLogIn, since: now, stage: .waiting)
    if waiting.isEmpty, !isFull, !mustLogIn || !isFull(gate: gate) {
      place(id)
      return [.admit(id)]
    }
    waiting.append(id)
    var actions = fill(at: now)
    if waiting.count > mostWaiting, let surplus = surplus() {
      remove(surplus)
      actions.append(.drop(surplus))
    }
    return actions
  }

  /// A connection with a place has authenticated.
  public mutating func authenticated(_ id: UInt64, now: Double) -> [Action] {
    guard candidates[id]?.stage == .unauthenticated else { return [] }
    leaveGate(id)
    candidates[id]?.stage = .authenticated
    return fill(at: now)
  }

  /// A connection is closed. A connection that is already removed is ignored.
  public mutating func closed(_ id: UInt64, now: Double) -> [Action] {
    guard candidates[id] != nil else { return [] }
    remove(id)
    return fill(at: now)
  }

  /// Admits waiting connections. The caller calls it at `nextCheck`, and after a change of the limits.
  public mutating func fill(at now: Double) -> [Action] {
    nextCheck = nil
    guard !waiting.isEmpty else { return [] }
    var actions: [Action] = []
    while let (id, victim) = next(at: now) {
      if let victim {
        remove(victim)
        actions.append(.drop(victim))
      }
      waiting.removeAll { $0 == id }
      place(id)
      actions.append(.admit(id))
    }
    return actions
  }

  /// The kernel has no room for another connection. One is dropped so that there is some, unless there is none that
  /// should be. If it had a place, one that waits gets that.
  public mutating func shed(at now: Double) -> [Action] {
    guard let id = surplus(leaving: 1) ?? oldestUnauthenticated() else { return [] }
    remove(id)
    return [.drop(id)] + fill(at: now)
  }

  // MARK: Decisions

  /// The connection that is admitted next, and the one whose place it takes.
  private mutating func next(at now: Double) -> (id: UInt64, victim: UInt64?)? {
    var best: (id: UInt64, victim: UInt64?, held: Int)?
    // The answer is the same for all connections of one origin at one gate, so only the first is checked.
    var asked: Set<Way> = []
    for id in waiting {
      guard let candidate = candidates[id],
        asked.insert(Way(candidate)).inserted
      else { continue }
      let held = gates[candidate.gate].counts[candidate.origin] ?? 0
      if let best, best.held <= held { continue }
      switch room(for: candidate, at: now) {
      case .none: continue
      case .free: best = (id, nil, held)
      case .of(let victim): best = (id, victim, held)
      }
    }
    return best.map { ($0.id, $0.victim) }
  }

  private struct Way: Hashable {
    let origin: Origin
    let gate: Int
    let mustLogIn: Bool

    init(_ candidate: Candidate) {
      origin = candidate.origin
      gate = candidate.gate
      mustLogIn = candidate.mustLogIn
    }
  }

  private enum Room {
    case none, free
    case of(UInt64)
  }

  private mutating func room(for candidate: Candidate, at now: Double) -> Room {
    let isNew = counts[candidate.origin] == nil
    if candidate.mustLogIn, isFull(gate: candidate.gate) {
      // A victim at the gate also frees a place in the total.
      guard !isFull || isNew || candidate.origin.isRoot,
        let victim = victim(at: [candidate.gate], for: candidate, at: now)
      else { return .none }
      return .of(victim)
    }
    guard isFull else { return .free }
    guard isNew, mostClients > 0 else { return .none }
    if candidate.origin.isRoot { return .free }
    return victim(at: Array(gates.indices), for: candidate, at: now).map { .of($0) } ?? .none
  }

  /// The oldest unauthenticated connection of the busiest origin at these gates, if the candidate may take its place.
  private mutating func victim(
    at gates: [Int], for candidate: Candidate, at now: Double
  ) -> UInt64? {
    var counts: [Origin: Int] = [:]
    for gate in gates { counts.merge(self.gates[gate].counts, uniquingKeysWith: +) }
    let held = counts[candidate.origin] ?? 0
    let others = counts.filter { !$0.key.isRoot && $0.key != candidate.origin }
    guard let most = others.values.max(), held == 0 || held + 1 < most else { return nil }
    let oldest = gates.flatMap { self.gates[$0].ids }
      .filter { id in candidates[id].map { others[$0.origin] == most } ?? false }.min()
    guard let oldest, let since = candidates[oldest]?.since else { return nil }
    let graceEnd = since + Admission.graceSeconds
    if !candidate.origin.isRoot, now < graceEnd {
      nextCheck = min(nextCheck ?? graceEnd, graceEnd)
      return nil
    }
    return oldest
  }

  /// The oldest waiting connection of the origin with the most of them; nil: no origin has more than `leaving`.
  private func surplus(leaving: Int = 0) -> UInt64? {
    var counts: [Origin: Int] = [:]
    for id in waiting {
      if let origin = candidates[id]?.origin, !origin.isRoot { counts[origin, default: 0] += 1 }
    }
    guard let most = counts.values.max() else { return leaving == 0 ? waiting.first : nil }
    guard most > leaving else { return nil }
    return waiting.first { id in candidates[id].map { counts[$0.origin] == most } ?? false }
  }

  private func oldestUnauthenticated() -> UInt64? {
    var counts: [Origin: Int] = [:]
    for gate in gates { counts.merge(gate.counts, uniquingKeysWith: +) }
    counts = counts.filter { !$0.key.isRoot }
    guard let most = counts.values.max(), most > 1 else { return nil }
    return gates.flatMap(\.ids)
      .filter { id in candidates[id].map { counts[$0.origin] == most } ?? false }.min()
  }

  // MARK: Accounting

  private mutating func place(_ id: UInt64) {
    guard let candidate = candidates[id] else { return }
    candidates[id]?.stage = candidate.mustLogIn ? .unauthenticated : .authenticated
    admittedCount += 1
    counts[candidate.origin, default: 0] += 1
    guard candidate.mustLogIn else { return }
    gates[candidate.gate].counts[candidate.origin, default: 0] += 1
    gates[candidate.gate].ids.append(id)
  }

  private mutating func leaveGate(_ id: UInt64) {
    guard let candidate = candidates[id] else { return }
    gates[candidate.gate].ids.removeAll { $0 == id }
    Admission.takeOne(&gates[candidate.gate].counts, candidate.origin)
  }

  private mutating func remove(_ id: UInt64) {
    guard let candidate = candidates[id] else { return }
    switch candidate.stage {
    case .waiting: waiting.removeAll { $0 == id }
    case .unauthenticated:
      leaveGate(id)
      fallthrough
    case .authenticated:
      admittedCount -= 1
      Admission.takeOne(&counts, candidate.origin)
    }
    candidates[id] = nil
  }

  private static func takeOne(_ counts: inout [Origin: Int], _ origin: Origin) {
    guard let count = counts[origin] else { return }
    counts[origin] = count > 1 ? count - 1 : nil
  }
}
