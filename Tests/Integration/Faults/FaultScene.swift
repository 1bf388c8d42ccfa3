// A broker between faulty links, and the checks after the operations.
import Foundation
import Streams
import Synchronization
import Testing

/// A broker with a faulty link on each side.
final class FaultScene: Sendable {
  let broker: BrokerProcess
  let backendWire: FaultyWire
  let unixWire: FaultyWire
  let tcpWire: FaultyWire
  let directory: String

  var wires: [FaultyWire] { [backendWire, unixWire, tcpWire] }

  /// `backend` is the socket of the daemon behind the link.
  init(backend: String, seed: UInt64) async throws {
    directory = try Scratch.directory("f")
    backendWire = try FaultyWire(
      at: .unix(directory + "/libvirt-sock"), to: .unix(backend), seed: seed, meanSeconds: 6)
    broker = try await BrokerProcess.start(
      backends: directory, settings: FaultInjectionTests.settings)
    unixWire = try FaultyWire(
      at: .unix(directory + "/client-sock"), to: .unix(broker.directory + "/libvirt-sock"),
      seed: seed &+ 1, meanSeconds: 6)
    tcpWire = try FaultyWire(
      at: .tcp(0), to: .tcp(broker.port), seed: seed &+ 2, meanSeconds: 6)
  }

  func connect(_ dice: inout Dice) throws -> RawClient {
    try dice.once(in: 2)
      ? RawClient(unix: directory + "/client-sock") : RawClient(tcp: tcpWire.port)
  }

  /// Works under faults and checks the results. `disturb` is called repeatedly.
  func run(
    at site: any FaultSite, seed: UInt64, seconds: Double,
    disturb: @escaping @Sendable (inout Dice, _ round: Int) -> Void
  ) async throws -> Account {
    print("fault injection: seed \(faultSeed), \(seconds) s")
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)

    let unused = broker.residentBytes >> 10
    // The cost of the same operations without faults.
    let warm = try await work(at: site, seed: seed, seconds: min(8, seconds / 4))
    #expect(warm.wrong.isEmpty, "without a fault: \(warm.wrong.prefix(10))")
    #expect(
      warm.ends.values.allSatisfy { $0.cut == 0 && $0.failed == 0 },
      "without a fault: \(warm.description)")
    let before = try await atRest()
    let account = try await suffer(at: site, seed: seed, seconds: seconds, disturb: disturb)
    let peak = broker.peakBytes
    let faults = wires.map { wire in
      wire.faults.map { "\($0.value) × \($0.key)" }.sorted().joined(separator: ", ")
    }
    print("faults at the daemon, UNIX clients, TCP clients: \(faults)\n\(account.description)")
    #expect(account.wrong.isEmpty, "\(account.wrong.count): \(account.wrong.prefix(20))")
    for kind in account.ends where kind.key != "leaving" {
      #expect(kind.value.done > 0, "\(kind.key) was never done")
    }
    #expect(broker.isRunning, "\(broker.log.suffix(2000))")

    let after = try await atRest()
    #expect(after.descriptors <= before.descriptors)
    if !FaultInjectionTests.isSanitized {
      try await checkMemory(unused: unused, before: before, after: after, peak: peak)
    }
    // The broker still serves.
    let late = try await work(at: site, seed: seed &+ 8, seconds: min(3, seconds / 4))
    #expect(
      late.wrong.isEmpty && late.ends.values.allSatisfy { $0.cut == 0 }, "\(late.description)")
    return account
  }

  /// `unused` and resident memory in KiB, `peak` in bytes.
  private func checkMemory(
    unused: Int, before: (descriptors: Int, resident: Int),
    after: (descriptors: Int, resident: Int), peak: Int
  ) async throws {
    // The broker returns memory after an idle time.
    let isGivenBack = try await blocking { [broker] in
      eventually { broker.residentBytes >> 10 < unused + 8192 }
    }
    print(
      """
      descriptors, resident KiB: before \(before), after \(after); \(unused) KiB before the first client, \
      at most \(peak >> 10) KiB, at last \(broker.residentBytes >> 10) KiB
      """)
    #expect(isGivenBack, "\(broker.residentBytes >> 10) KiB are kept, of \(unused) KiB at first")
    // For each client and its daemon the queued data, one read and the packet in which it ends.
    let bound = FaultInjectionTests.clients * 2 * (FaultInjectionTests.buffer + (1 << 20))
    #expect(peak - before.resident << 10 < bound)
  }

  /// Operations under faults.
  private func suffer(
    at site: any FaultSite, seed: UInt64, seconds: Double,
    disturb: @escaping @Sendable (inout Dice, _ round: Int) -> Void
  ) async throws -> Account {
    for wire in wires { wire.isCalm = false }
    let end = Flag()
    let disturber = Task {
      try await blocking {
        var dice = Dice(seed &* 3)
        var round = 0
        while !end.isUp {
          round += 1
          disturb(&dice, round)
        }
      }
    }
    let account = try await work(at: site, seed: seed &+ 7, seconds: seconds) { [wires] in
      end.raise()
      for wire in wires { wire.isCalm = true }
    }
    try await disturber.value
    return account
  }

  /// Every client works for the given time and finishes its current operation.
  private func work(
    at site: any FaultSite, seed: UInt64, seconds: Double,
    thenBefore settle: @escaping @Sendable () -> Void = {}
  ) async throws -> Account {
    let end = Flag()
    return try await withThrowingTaskGroup(of: Account.self) { group in
      for number in 0..<FaultInjectionTests.clients {
        group.addTask {
          try await blocking {
            let client = FaultClient(
              number, at: site, seed: seed &* 1000 &+ UInt64(number), until: end)
            client.work()
            return client.account
          }
        }
      }
      try await Task.sleep(for: .seconds(seconds))
      settle()
      end.raise()
      var all = Account()
      for try await account in group { all.add(account) }
      return all
    }
  }

  /// Without any client: descriptors, and resident KiB.
  private func atRest() async throws -> (descriptors: Int, resident: Int) {
    try await blocking { [self] in
      #expect(eventually { wires.allSatisfy { $0.openCount == 0 } }, "connections end")
      return (settledDescriptorCount(of: broker.pid), broker.residentBytes >> 10)
    }
  }

  func end() async throws {
    for wire in wires { wire.stop() }
    try await broker.stop()
  }
}

/// A flag that is raised once and read by many threads.
final class Flag: Sendable {
  private let state = Mutex(false)
  var isUp: Bool { state.withLock { $0 } }
  func raise() { state.withLock { $0 = true } }
}
