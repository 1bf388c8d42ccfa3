// Which connections are served now, which wait, and which make room for others.

/// Decides who gets a place. Connections come through gates (listeners). All together there are places for
/// `clients`; at each gate, `unauthenticated` of them for those that have yet to log in. Beyond that a
/// connection waits.
///
/// An origin that floods a gate takes places from itself alone. A connection whose origin has no unauthenticated
/// connection there, or by more than one fewer than the busiest origin has, takes the place of the busiest
/// origin's oldest one. That one has had `graceSeconds` by then, so that clients of many hosts that all connect
/// at once are not dropped in the middle of a login; for root it need not. Root's connections are not dropped.
///
/// At `clients`, a connection whose origin has no client takes the place of an unauthenticated one in the same
/// way. Root, if it has no client, gets a place beyond the limit.
///
/// Among those that wait, the origin with the fewest places comes first, then the connection that came first.
public struct Admission: Sendable {
  public enum Action: Equatable, Sendable {
    /// The connection has a place from now on.
    case admit(UInt64)
    /// The connection ends, because another one needs its place.
    case drop(UInt64)
  }

  /// How long an unauthenticated connection keeps its place against others than root.
  public static let graceSeconds = 1.0

  private enum Stage { case waiting, unauthenticated, authenticated }

  private struct Candidate {
    let origin: Origin
    let gate: Int
    let mustLogIn: Bool
    let since: Double
    var stage: Stage
  }

  /// Places at one gate for connections that have yet to log in.
  private struct Gate {
    var counts: [Origin: Int] = [:]
    /// In the order they came.
    var ids: [UInt64] = []
  }

  /// Connections with a place.
  public var mostClients: Int
  /// Of each gate; 0: no limit.
  public var mostUnauthenticated: Int
  /// Connections that may wait, at all gates together. One too many drops the oldest of the origin with the
  /// most.
  public var mostWaiting: Int

  private var candidates: [UInt64: Candidate] = [:]
  private var gates: [Gate]
  /// Of those with a place.
  private var counts: [Origin: Int] = [:]
  public private(set) var admittedCount = 0
  /// In the order they came.
  private var waiting: [UInt64] = []
  /// When a place can be taken that is still in its grace; nil: nothing waits for that.
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

  /// A connection with a place has logged in.
  public mutating func authenticated(_ id: UInt64, now: Double) -> [Action] {
    guard candidates[id]?.stage == .unauthenticated else { return [] }
    leaveGate(id)
    candidates[id]?.stage = .authenticated
    return fill(at: now)
  }

  /// A connection is closed. One that is not known any more is ignored.
  public mutating func closed(_ id: UInt64, now: Double) -> [Action] {
    guard candidates[id] != nil else { return [] }
    remove(id)
    return fill(at: now)
  }

  /// Gives out what places there are: after `nextCheck`, or another limit.
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

  /// The connection that comes in next, and the one whose place it takes.
  private mutating func next(at now: Double) -> (id: UInt64, victim: UInt64?)? {
    var best: (id: UInt64, victim: UInt64?, held: Int)?
    // The answer is the same for all that come from one origin through one gate: the first is the one.
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
      // A connection that leaves the gate also leaves a place in the total.
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

  /// The oldest unauthenticated connection of the busiest origin at these gates, if it has to make room.
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

  /// The oldest that waits, of the origin of which most do; nil: none has more than `leaving`.
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

  // MARK: Books

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
