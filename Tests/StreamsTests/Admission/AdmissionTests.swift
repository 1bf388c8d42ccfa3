// Who gets a place, who waits, and who is dropped.
import Testing

@testable import Streams

@Suite("admission")
struct AdmissionTests {
  /// An admission with a clock and connections that are numbered as they come.
  private struct Door {
    var admission: Admission
    var now = 0.0
    private var last: UInt64 = 0

    init(clients: Int = 100, unauthenticated: Int = 3, waiting: Int = 10) {
      admission = Admission(
        gates: 2, mostClients: clients, mostUnauthenticated: unauthenticated, mostWaiting: waiting)
    }

    mutating func comes(_ origin: Origin, gate: Int = 0, mustLogIn: Bool = true)
      -> [Admission.Action]
    {
      last += 1
      return admission.request(last, from: origin, at: gate, mustLogIn: mustLogIn, now: now)
    }
    mutating func leaves(_ id: UInt64) -> [Admission.Action] { admission.closed(id, now: now) }
    mutating func logsIn(_ id: UInt64) -> [Admission.Action] {
      admission.authenticated(id, now: now)
    }
    mutating func fill() -> [Admission.Action] { admission.fill(at: now) }
  }

  private let attacker = Origin.user(1000)
  private let other = Origin.user(1001)
  private let root = Origin.user(0)

  @Test("connections of one origin wait at their gate's limit, and come in in order")
  func waits() {
    var tlsAcceptor = Door()
    for id in 1...3 as ClosedRange<UInt64> { #expect(tlsAcceptor.comes(attacker) == [.admit(id)]) }
    #expect(tlsAcceptor.comes(attacker) == [])
    #expect(tlsAcceptor.comes(attacker) == [])
    #expect(
      tlsAcceptor.comes(attacker, gate: 1) == [.admit(6)], "another gate has places of its own")
    #expect(
      tlsAcceptor.comes(attacker, mustLogIn: false) == [.admit(7)], "or, without a login, none")
    #expect(tlsAcceptor.logsIn(2) == [.admit(4)])
    #expect(tlsAcceptor.leaves(1) == [.admit(5)])
    #expect(tlsAcceptor.leaves(99) == [])
    #expect(
      tlsAcceptor.admission.unauthenticated(at: 0) == 3 && tlsAcceptor.admission.admittedCount == 6)
    #expect(tlsAcceptor.admission.nextCheck == nil, "none of them is ever dropped")
  }

  @Test("root takes the oldest place of the busiest origin at once, and keeps its own")
  func rootComes() {
    var tlsAcceptor = Door()
    _ = tlsAcceptor.comes(other)
    _ = tlsAcceptor.comes(attacker)
    _ = tlsAcceptor.comes(attacker)
    #expect(tlsAcceptor.comes(root) == [.drop(2), .admit(4)])
    tlsAcceptor.now = 100
    #expect(tlsAcceptor.comes(attacker) == [], "it has as many as the others")
    #expect(tlsAcceptor.comes(Origin.user(7)) == [.drop(1), .admit(6)])
    #expect(tlsAcceptor.comes(Origin.user(8)) == [.drop(3), .admit(7)])
  }

  @Test("root's own connections wait for each other")
  func rootsOwn() {
    var tlsAcceptor = Door()
    for _ in 1...3 { _ = tlsAcceptor.comes(root) }
    #expect(tlsAcceptor.comes(root) == [])
    #expect(tlsAcceptor.comes(attacker) == [], "and are not dropped for others")
    #expect(tlsAcceptor.leaves(1) == [.admit(5)], "which have fewer places, and so come first")
    #expect(tlsAcceptor.leaves(2) == [.admit(4)])
  }

  @Test("an origin without a connection gets a place when the one it takes has had its time")
  func grace() {
    var tlsAcceptor = Door()
    for _ in 1...3 { _ = tlsAcceptor.comes(attacker) }
    tlsAcceptor.now = 0.25
    #expect(tlsAcceptor.comes(other) == [])
    #expect(tlsAcceptor.admission.nextCheck == 1)
    tlsAcceptor.now = 1
    #expect(tlsAcceptor.fill() == [.drop(1), .admit(4)])
    #expect(tlsAcceptor.admission.nextCheck == nil)
  }

  @Test("an origin takes places until the shares are equal, and not one more")
  func shares() {
    var tlsAcceptor = Door(unauthenticated: 4)
    for _ in 1...4 { _ = tlsAcceptor.comes(attacker) }
    tlsAcceptor.now = 1
    #expect(tlsAcceptor.comes(other) == [.drop(1), .admit(5)])
    #expect(tlsAcceptor.comes(other) == [.drop(2), .admit(6)])
    #expect(tlsAcceptor.comes(other) == [])
    #expect(tlsAcceptor.comes(attacker) == [])
    tlsAcceptor.now = 10
    #expect(tlsAcceptor.fill() == [])
  }

  @Test(
    "at max_clients all wait, but root without any client and those without one where one can go")
  func full() {
    var tlsAcceptor = Door(clients: 2)
    _ = tlsAcceptor.comes(attacker, mustLogIn: false)
    _ = tlsAcceptor.comes(attacker, mustLogIn: false)
    #expect(tlsAcceptor.admission.isFull)
    #expect(tlsAcceptor.comes(attacker, mustLogIn: false) == [])
    #expect(tlsAcceptor.comes(other, mustLogIn: false) == [], "clients that have logged in stay")
    #expect(tlsAcceptor.comes(root, mustLogIn: false) == [.admit(5)])
    #expect(tlsAcceptor.comes(root, mustLogIn: false) == [], "now it has one")
    #expect(tlsAcceptor.leaves(1) == [], "that was the one too many")
    #expect(tlsAcceptor.leaves(2) == [.admit(3)])

    tlsAcceptor = Door(clients: 2)
    _ = tlsAcceptor.comes(attacker, gate: 1)
    _ = tlsAcceptor.comes(attacker, mustLogIn: false)
    tlsAcceptor.now = 1
    #expect(tlsAcceptor.comes(other, mustLogIn: false) == [.drop(1), .admit(3)])

    tlsAcceptor = Door(clients: 0)
    #expect(tlsAcceptor.comes(root, mustLogIn: false) == [], "none is none")
  }

  @Test("one too many that waits drops the oldest of the origin of which most wait")
  func tooManyWait() {
    var tlsAcceptor = Door(unauthenticated: 1, waiting: 3)
    _ = tlsAcceptor.comes(root)
    #expect(tlsAcceptor.comes(root) == [])
    #expect(tlsAcceptor.comes(other) == [])
    #expect(tlsAcceptor.comes(attacker) == [])
    #expect(tlsAcceptor.comes(attacker) == [.drop(4)])
    #expect(tlsAcceptor.comes(attacker) == [.drop(5)])
    #expect(tlsAcceptor.leaves(1) == [.admit(2)], "the others have not lost their turn")
  }

  @Test("without room in the kernel the busiest origin gives up one, but never its last")
  func shed() {
    var tlsAcceptor = Door(unauthenticated: 3)
    _ = tlsAcceptor.comes(attacker)
    _ = tlsAcceptor.comes(attacker)
    _ = tlsAcceptor.comes(root)
    _ = tlsAcceptor.comes(attacker)
    _ = tlsAcceptor.comes(attacker)
    #expect(tlsAcceptor.admission.shed() == .drop(4))
    #expect(tlsAcceptor.admission.shed() == .drop(1))
    #expect(tlsAcceptor.fill() == [.admit(5)])
    #expect(tlsAcceptor.admission.shed() == .drop(2))
    #expect(tlsAcceptor.admission.shed() == nil)
  }

  /// A connection that has come and is neither gone nor dropped.
  private struct Known {
    let origin: Origin
    var isIn = false
    var waitsAsRoot: Bool { !isIn && origin.isRoot }
    var isInAsRoot: Bool { isIn && origin.isRoot }
  }

  private func note(_ actions: [Admission.Action], in known: inout [UInt64: Known]) {
    for action in actions {
      switch action {
      case .admit(let id): known[id]?.isIn = true
      case .drop(let id): known[id] = nil
      }
    }
  }

  @Test("whatever comes and goes, no limit is exceeded, and root is never kept waiting by others")
  func random() {
    for seed: UInt64 in 0..<200 {
      var generator = SplitMix(state: seed)
      var tlsAcceptor = Door(clients: 12, unauthenticated: 4, waiting: 6)
      var known: [UInt64: Known] = [:]
      var last: UInt64 = 0
      for _ in 0..<300 {
        tlsAcceptor.now += Double(generator.next(below: 100)) / 200
        let oldest = known.keys.sorted()
        switch generator.next(below: 4) {
        case 0, 1:
          last += 1
          let origin = Origin.user(UInt32(generator.next(below: 4)))
          known[last] = Known(origin: origin)
          let gate = generator.next(below: 2)
          let mustLogIn = generator.next(below: 3) > 0
          note(tlsAcceptor.comes(origin, gate: gate, mustLogIn: mustLogIn), in: &known)
        case 2:
          if let id = oldest.first { note(tlsAcceptor.logsIn(id), in: &known) }
        default:
          guard !oldest.isEmpty else { continue }
          let id = oldest[generator.next(below: oldest.count)]
          known[id] = nil
          note(tlsAcceptor.leaves(id), in: &known)
        }
        let inside = known.values.count { $0.isIn }
        let waiting = known.count - inside
        #expect(inside == tlsAcceptor.admission.admittedCount, "seed \(seed)")
        #expect(inside <= 13, "seed \(seed)")
        #expect(waiting == tlsAcceptor.admission.waitingCount, "seed \(seed)")
        #expect(waiting <= 6, "seed \(seed)")
        #expect(tlsAcceptor.admission.unauthenticated(at: 0) <= 4)
        #expect(tlsAcceptor.admission.unauthenticated(at: 1) <= 4)
        if known.values.contains(where: \.waitsAsRoot) {
          let isAnyIn = known.values.contains(where: \.isInAsRoot)
          #expect(isAnyIn, "seed \(seed)")
        }
      }
    }
  }

  /// Numbers by a seed.
  private struct SplitMix {
    var state: UInt64

    mutating func next(below bound: Int) -> Int {
      state &+= 0x9e37_79b9_7f4a_7c15
      var word: UInt64 = state
      word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
      word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
      word ^= word >> 31
      return Int(word % UInt64(bound))
    }
  }
}

@Suite("quota")
struct QuotaTests {
  @Test("one origin gets its share, root the total, and newcomers what is kept for them")
  func shares() {
    var quota = Quota(total: 16, share: 8)
    let users = (0...5 as ClosedRange<UInt32>).map { Origin.user($0) }
    func reserves(_ count: Int, _ user: Int) -> Bool {
      quota.tryReserve(count, for: users[user])
    }
    func reserves(_ user: Int) -> Bool { reserves(1, user) }
    #expect(reserves(8, 1))
    #expect(!reserves(1))
    #expect(!reserves(9, 2))
    #expect(reserves(6, 2))
    #expect(!reserves(2), "the last eighth is not for it")
    #expect(reserves(3))
    #expect(!reserves(3))
    #expect(reserves(0))
    #expect(!reserves(0))
    #expect(!reserves(4))
    #expect(quota.used == 16)
    quota.release(8, for: users[1])
    #expect(reserves(8, 0))
    #expect(quota.used(by: users[0]) == 9)
    quota.release(100, for: users[5])
    #expect(quota.used == 16, "what was not reserved cannot be released")
  }

  @Test(
    "an origin above its share gives something up, or the largest above the total, and never root")
  func memory() {
    var budget = MemoryBudget(total: 100)
    let (one, two, root) = (Origin.user(1), Origin.user(2), Origin.user(0))
    #expect(budget.changed(one, by: 50) == nil)
    #expect(budget.changed(one, by: 1) == one)
    #expect(budget.changed(one, by: -11) == nil)
    #expect(budget.changed(root, by: 60) == nil)
    #expect(budget.changed(two, by: 1) == one, "it holds more")
    #expect(budget.changed(one, by: -40) == nil)
    #expect(budget.changed(root, by: 100) == two, "the only one left to give")
    #expect(budget.changed(two, by: -1) == nil)
    #expect(budget.changed(root, by: 1) == nil)
    #expect(budget.used == 161 && budget.used(by: one) == 0)
  }

  @Test("hosts of IPv6 are counted by their networks, and mapped ones by their IPv4 address")
  func origins() {
    let one: [UInt8] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    var two = one
    two[15] = 2
    #expect(Origin(host: one) == Origin(host: two))
    two[7] = 2
    #expect(Origin(host: one) != Origin(host: two))
    #expect("\(Origin(host: one))" == "2001:db8:0:1::/64")
    #expect("\(Origin(host: [192, 0, 2, 1]))" == "192.0.2.1" && "\(Origin.user(7))" == "uid 7")
  }
}
