// The blocking pool: the loop runs while jobs block, and receives their results.
import Dispatch
import Glibc
import Streams
import Synchronization
import Testing

@testable import Broker

/// Blocks threads until it is opened.
final class Gate: Sendable {
  private let semaphore = DispatchSemaphore(value: 0)
  func open() { semaphore.signal() }
  /// Each thread that passes lets the next one pass.
  func wait() {
    semaphore.wait()
    semaphore.signal()
  }
}

/// Signals when the last reference to it is released.
private final class SignalOnRelease: Sendable {
  private let semaphore: DispatchSemaphore
  init(_ semaphore: DispatchSemaphore) { self.semaphore = semaphore }
  deinit { semaphore.signal() }
}

@Suite("blocking pool")
struct BlockingPoolTests {
  private let reactor: Reactor

  init() throws { reactor = try Reactor() }

  @Test("the loop runs while a job blocks, and a second job finishes meanwhile")
  func blocking() throws {
    let gate = Gate()
    let pool = BlockingPool(on: reactor)
    var told: [String] = []
    pool.run(
      .names, { gate.wait() },
      completion: { [reactor] in
        told.append("the blocked job")
        reactor.stop()
      })
    pool.run(
      .names, { 7 },
      completion: {
        told.append("the next: \($0)")
        gate.open()
      })
    reactor.run()
    #expect(told == ["the next: 7", "the blocked job"])
  }

  @Test("a service whose every job hangs delays no other service", arguments: [8, 100])
  func services(hanging: Int) throws {
    let gate = Gate()
    defer { gate.open() }
    let pool = BlockingPool(on: reactor)
    for _ in 0..<hanging { pool.run(.names, { gate.wait() }, completion: {}) }
    var told: [BlockingPool.Service] = []
    let others: [BlockingPool.Service] = [.sasl, .otherHosts, .audit]
    for service in others {
      pool.run(
        service, { service },
        completion: { [reactor] in
          told.append($0)
          if told.count == others.count { reactor.stop() }
        })
    }
    reactor.run()
    #expect(Set(told) == Set(others))
  }

  @Test("jobs beyond the limit of a service wait and run in order")
  func limit() throws {
    let gate = Gate()
    let order = Mutex<[Int]>([])
    let pool = BlockingPool(on: reactor)
    pool.run(.audit, { gate.wait() }, completion: {})
    for number in 0..<20 {
      pool.run(
        .audit, { order.withLock { $0.append(number) } },
        completion: { [reactor] in if number == 19 { reactor.stop() } })
    }
    let alarm = Alarm(on: reactor) {
      #expect(order.withLock { $0 }.isEmpty)
      gate.open()
    }
    alarm.start(seconds: 0.05)
    reactor.run()
    #expect(order.withLock { $0 } == Array(0..<20))
  }

  @Test("a hanging job does not delay the release of its pool")
  func hanging() throws {
    let gate = Gate()
    defer { gate.open() }
    var pool: BlockingPool? = BlockingPool(on: reactor)
    pool?.run(
      .names, { gate.wait() }, completion: { Issue.record("there is no receiver any more") })
    pool = nil
    let alarm = Alarm(on: reactor) { [reactor] in reactor.stop() }
    alarm.start(seconds: 0.05)
    reactor.run()
  }

  @Test("a cancelled job that waits never runs, and a cancelled job that runs reports nothing")
  func cancelled() throws {
    let gate = Gate()
    let begun = Gate()
    let done = Mutex<[Int]>([])
    let pool = BlockingPool(on: reactor)
    let first = pool.run(
      .audit,
      {
        begun.open()
        gate.wait()
        done.withLock { $0.append(1) }
      }, completion: { Issue.record("the first was told") })
    begun.wait()
    let second = pool.run(
      .audit, { done.withLock { $0.append(2) } },
      completion: { Issue.record("the second was told") })
    pool.run(
      .audit, { done.withLock { $0.append(3) } }, completion: { [reactor] in reactor.stop() })
    pool.cancel(first)
    pool.cancel(second)
    gate.open()
    reactor.run()
    #expect(done.withLock { $0 } == [1, 3])
  }

  @Test("finishing a pool waits for a running job and drops the waiting ones")
  func finishing() throws {
    let begun = Gate()
    let dropped = DispatchSemaphore(value: 0)
    let done = Mutex<[Int]>([])
    let pool = BlockingPool(on: reactor)
    pool.run(
      .audit,
      {
        begun.open()
        // The other job is released by `finish`, which then waits for this one.
        let isDropped = dropped.wait(timeout: .now() + 60) == .success
        done.withLock { $0.append(isDropped ? 1 : 0) }
      }, completion: {})
    do {
      let signal = SignalOnRelease(dropped)
      pool.run(
        .audit,
        {
          done.withLock { $0.append(2) }
          withExtendedLifetime(signal) {}
        }, completion: {})
    }
    begun.wait()
    pool.finish()
    #expect(done.withLock { $0 } == [1])
  }
}

@Suite("names of users")
struct NameDirectoryTests {
  private let reactor: Reactor
  private let pool: BlockingPool

  init() throws {
    reactor = try Reactor()
    pool = BlockingPool(on: reactor)
  }

  @Test("concurrent lookups of the same names share one query, and its result is cached")
  func names() throws {
    let gate = Gate()
    let count = Mutex(0)
    let names = NameDirectory(on: reactor, pool, log: BrokerLog(threshold: .error) { _, _ in }) {
      uid, gid in
      gate.wait()
      count.withLock { $0 += 1 }
      return UnixNames(user: "user \(uid)", group: "group \(gid)")
    }
    let expected = UnixNames(user: "user 1", group: "group 2")
    var told: [UnixNames] = []
    for _ in 0..<3 {
      let known = names.names(uid: 1, gid: 2) { [reactor] in
        told.append($0)
        if told.count == 3 { reactor.stop() }
      }
      #expect(known == nil)
    }
    gate.open()
    reactor.run()
    #expect(told == [expected, expected, expected])
    #expect(count.withLock { $0 } == 1)
    #expect(names.names(uid: 1, gid: 2) { _ in Issue.record("was known already") } == expected)
  }

  @Test("a lookup does not wait for a hanging name service; its late answer is cached")
  func slowNames() throws {
    let gate = Gate()
    let names = NameDirectory(
      on: reactor, pool, log: BrokerLog(threshold: .error) { _, _ in }, waitSeconds: 0.05
    ) { _, _ in
      gate.wait()
      return UnixNames(user: "late", group: "later")
    }
    var told: [UnixNames] = []
    let known = names.names(uid: 1, gid: 2) { [reactor] in
      told.append($0)
      reactor.stop()
    }
    #expect(known == nil)
    reactor.run()
    #expect(told == [UnixNames()], "the numbers alone")
    #expect(
      names.names(uid: 1, gid: 2) { _ in Issue.record("told twice") } == UnixNames(),
      "and the next one does not wait at all")
    gate.open()
    var latest: UnixNames? = UnixNames()
    let alarm = Alarm(on: reactor) { [reactor] in reactor.stop() }
    for _ in 0..<400 where latest == UnixNames() {
      alarm.start(seconds: 0.01)
      reactor.run()
      latest = names.names(uid: 1, gid: 2) { _ in }
    }
    #expect(latest == UnixNames(user: "late", group: "later"))
    #expect(told.count == 1)
  }

  @Test("the system's own names are found; numbers without a name have none")
  func look() {
    #expect(UnixNames.look(0, 0) == UnixNames(user: "root", group: "root"))
    #expect(UnixNames.look(0x7fff_fff0, 0x7fff_fff0) == UnixNames(user: nil, group: nil))
  }
}
