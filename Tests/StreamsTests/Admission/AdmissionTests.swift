// Which connections are admitted, which wait, and which are dropped.
import Testing

@testable import Streams

@Suite("admission")
struct AdmissionTests {
  /// An admission with a clock. It numbers connections in the order of their arrival.
  private struct Fixture {
    var admission: Admission
    var now = 0.0
    private var last: UInt64 = 0

    init(clients: Int = 100, unauthenticated: Int = 3, waiting: Int = 10) {
      admission = Admission(
        gates: 2, mostClients: clients, mostUnauthenticated: unauthenticated, mostWaiting: waiting)
    }

    mutating func connect(_ origin: Origin, gate: Int = 0, mustLogIn: Bool = true)
      -> [Admission.Action]
    {
      last += 1
      return admission.request(last, from: origin, at: gate, mustLogIn: mustLogIn, now: now)
    }
    mutating func disconnect(_ id: UInt64) -> [Admission.Action] { admission.closed(id, now: now) }
    mutating func authenticate(_ id: UInt64) -> [Admission.Action] {
      admission.authenticated(id, now: now)
    }
    mutating func fill() -> [Admission.Action] { admission.fill(at: now) }
  }

  private let attacker = Origin.user(1000)
  private let other = Origin.user(1001)
  private let root = Origin.user(0)

  @Test("connections of one origin wait at their gate's limit and are admitted in order")
  func waits() {
    var fixture = Fixture()
    for id in 1...3 as ClosedRange<UInt64> { #expect(fixture.connect(attacker) == [.admit(id)]) }
    #expect(fixture.connect(attacker) == [])
    #expect(fixture.connect(attacker) == [])
    #expect(
      fixture.connect(attacker, gate: 1) == [.admit(6)], "another gate has places of its own")
    #expect(
      fixture.connect(attacker, mustLogIn: false) == [.admit(7)], "or, without a login, none")
    #expect(fixture.authenticate(2) == [.admit(4)])
    #expect(fixture.disconnect(1) == [.admit(5)])
    #expect(fixture.disconnect(99) == [])
    #expect(
      fixture.admission.unauthenticated(at: 0) == 3 && fixture.admission.admittedCount == 6)
    #expect(fixture.admission.nextCheck == nil, "none of them is ever dropped")
  }

  @Test("root takes the oldest place of the busiest origin at once, and its own is never taken")
  func rootComes() {
    var fixture = Fixture()
    _ = fixture.connect(other)
    _ = fixture.connect(attacker)
    _ = fixture.connect(attacker)
    #expect(fixture.connect(root) == [.drop(2), .admit(4)])
    fixture.now = 100
    #expect(fixture.connect(attacker) == [], "it has as many as the others")
    #expect(fixture.connect(Origin.user(7)) == [.drop(1), .admit(6)])
    #expect(fixture.connect(Origin.user(8)) == [.drop(3), .admit(7)])
  }

  @Test("root's own connections wait for each other")
  func rootsOwn() {
    var fixture = Fixture()
    for _ in 1...3 { _ = fixture.connect(root) }
    #expect(fixture.connect(root) == [])
    #expect(fixture.connect(attacker) == [], "and are not dropped for others")
    #expect(fixture.disconnect(1) == [.admit(5)], "which have fewer places, and so come first")
    #expect(fixture.disconnect(2) == [.admit(4)])
  }

  @Test("an origin without a place takes another's after its grace period")
  func grace() {
    var fixture = Fixture()
    for _ in 1...3 { _ = fixture.connect(attacker) }
    fixture.now = 0.25
    #expect(fixture.connect(other) == [])
    #expect(fixture.admission.nextCheck == 1)
    fixture.now = 1
    #expect(fixture.fill() == [.drop(1), .admit(4)])
    #expect(fixture.admission.nextCheck == nil)
  }

  @Test("an origin takes places until the shares are equal, and no more")
  func shares() {
    var fixture = Fixture(unauthenticated: 4)
    for _ in 1...4 { _ = fixture.connect(attacker) }
    fixture.now = 1
    #expect(fixture.connect(other) == [.drop(1), .admit(5)])
    #expect(fixture.connect(other) == [.drop(2), .admit(6)])
    #expect(fixture.connect(other) == [])
    #expect(fixture.connect(attacker) == [])
    fixture.now = 10
    #expect(fixture.fill() == [])
  }

  @Test(
    "at max_clients all wait, except root without a client and origins without a client when a place can be taken"
  )
  func full() {
    var fixture = Fixture(clients: 2)
    _ = fixture.connect(attacker, mustLogIn: false)
    _ = fixture.connect(attacker, mustLogIn: false)
    #expect(fixture.admission.isFull)
    #expect(fixture.connect(attacker, mustLogIn: false) == [])
    #expect(fixture.connect(other, mustLogIn: false) == [], "clients that have logged in stay")
    #expect(fixture.connect(root, mustLogIn: false) == [.admit(5)])
    #expect(fixture.connect(root, mustLogIn: false) == [], "now it has one")
    #expect(fixture.disconnect(1) == [], "that was the one too many")
    #expect(fixture.disconnect(2) == [.admit(3)])

    fixture = Fixture(clients: 2)
    _ = fixture.connect(attacker, gate: 1)
    _ = fixture.connect(attacker, mustLogIn: false)
    fixture.now = 1
    #expect(fixture.connect(other, mustLogIn: false) == [.drop(1), .admit(3)])

    fixture = Fixture(clients: 0)
    #expect(fixture.connect(root, mustLogIn: false) == [], "none is none")
  }

  @Test(
    "beyond the limit of waiting connections, the oldest of the origin with most of them is dropped"
  )
  func tooManyWait() {
    var fixture = Fixture(unauthenticated: 1, waiting: 3)
    _ = fixture.connect(root)
    #expect(fixture.connect(root) == [])
    #expect(fixture.connect(other) == [])
    #expect(fixture.connect(attacker) == [])
    #expect(fixture.connect(attacker) == [.drop(4)])
    #expect(fixture.connect(attacker) == [.drop(5)])
    #expect(fixture.disconnect(1) == [.admit(2)], "the others have not lost their turn")
  }

  @Test("without memory in the kernel the busiest origin loses one connection, but never its last")
  func shed() {
    var fixture = Fixture(unauthenticated: 3)
    _ = fixture.connect(attacker)
    _ = fixture.connect(attacker)
    _ = fixture.connect(root)
    _ = fixture.connect(attacker)
    _ = fixture.connect(attacker)
    #expect(fixture.admission.shed(at: 0) == [.drop(4)])
    #expect(fixture.admission.shed(at: 0) == [.drop(1), .admit(5)], "its place is not left empty")
    #expect(fixture.admission.shed(at: 0) == [.drop(2)])
    #expect(fixture.admission.shed(at: 0) == [])
  }

  /// A connection that has neither closed nor been dropped.
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

  @Test("no sequence of connections exceeds a limit or makes root wait for others")
  func random() {
    for seed: UInt64 in 0..<200 {
      var generator = SplitMix(state: seed)
      var fixture = Fixture(clients: 12, unauthenticated: 4, waiting: 6)
      var known: [UInt64: Known] = [:]
      var last: UInt64 = 0
      for _ in 0..<300 {
        fixture.now += Double(generator.next(below: 100)) / 200
        let oldest = known.keys.sorted()
        switch generator.next(below: 4) {
        case 0, 1:
          last += 1
          let origin = Origin.user(UInt32(generator.next(below: 4)))
          known[last] = Known(origin: origin)
          let gate = generator.next(below: 2)
          let mustLogIn = generator.next(below: 3) > 0
          note(fixture.connect(origin, gate: gate, mustLogIn: mustLogIn), in: &known)
        case 2:
          if let id = oldest.first { note(fixture.authenticate(id), in: &known) }
        default:
          guard !oldest.isEmpty else { continue }
          let id = oldest[generator.next(below: oldest.count)]
          known[id] = nil
          note(fixture.disconnect(id), in: &known)
        }
        let inside = known.values.count { $0.isIn }
        let waiting = known.count - inside
        #expect(inside == fixture.admission.admittedCount, "seed \(seed)")
        #expect(inside <= 13, "seed \(seed)")
        #expect(waiting == fixture.admission.waitingCount, "seed \(seed)")
        #expect(waiting <= 6, "seed \(seed)")
        #expect(fixture.admission.unauthenticated(at: 0) <= 4)
        #expect(fixture.admission.unauthenticated(at: 1) <= 4)
        if known.values.contains(where: \.waitsAsRoot) {
          let isAnyIn = known.values.contains(where: \.isInAsRoot)
          #expect(isAnyIn, "seed \(seed)")
        }
      }
    }
  }

  /// Random numbers from a seed.
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
  @Test("one origin gets its share, root the total, and a new origin part of a reserve")
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
    "an origin above its share is chosen, or the largest above the total, and never root")
  func memory() {
    var budget = MemoryBudget(total: 100)
    let (one, two, root) = (Origin.user(1), Origin.user(2), Origin.user(0))
    #expect(budget.changed(1, of: one, to: 20) == [])
    #expect(budget.changed(2, of: one, to: 30) == [])
    #expect(budget.changed(1, of: one, to: 21) == [2], "it holds more")
    #expect(budget.changed(2, of: one, to: 0) == [])
    #expect(budget.changed(3, of: root, to: 70) == [])
    #expect(budget.changed(4, of: two, to: 9) == [])
    #expect(budget.changed(4, of: two, to: 10) == [1], "another origin holds more")
    #expect(budget.changed(1, of: one, to: 0) == [])
    #expect(budget.changed(3, of: root, to: 170) == [4], "the only one left to give")
    #expect(budget.changed(4, of: two, to: 0) == [])
    #expect(budget.changed(3, of: root, to: 171) == [])
    #expect(budget.used == 171 && budget.used(by: one) == 0)
  }

  @Test("as many clients end as it takes for what one took in addition, and no more")
  func memoryOfSeveral() {
    var budget = MemoryBudget(total: 100)
    let (one, two) = (Origin.user(1), Origin.user(2))
    for id in 1...4 as ClosedRange<UInt64> { #expect(budget.changed(id, of: one, to: 12) == []) }
    #expect(budget.changed(5, of: two, to: 40) == [])
    #expect(budget.changed(6, of: .user(0), to: 30) == [1, 5])
    budget.total = 50
    #expect(budget.changed(1, of: one, to: 0) == [])
    #expect(budget.changed(5, of: two, to: 0) == [])
    #expect(budget.used == 66, "lowering the limit alone ends no client")
    #expect(budget.changed(6, of: .user(0), to: 31) == [2])
  }

  @Test("IPv6 hosts are counted by network, and mapped IPv4 addresses as IPv4")
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
