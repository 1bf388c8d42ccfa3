// Work beside the loop: the loop goes on, and hears of it.
import Glibc
import Streams
import Synchronization
import Testing

@testable import Broker

/// Holds somebody up on another thread until it is opened.
final class Gate: Sendable {
  private let isOpen = Atomic<Bool>(false)
  func open() { isOpen.store(true, ordering: .releasing) }
  func wait() { while !isOpen.load(ordering: .acquiring) { usleep(1000) } }
}

@Suite("Beside the loop")
struct WorkshopTests {
  private let reactor: Reactor

  init() throws { reactor = try Reactor() }

  @Test("the loop goes on while a job blocks, and results come in the order of the jobs")
  func blocking() throws {
    let gate = Gate()
    let workshop = Workshop(on: reactor)
    var told: [String] = []
    workshop.run({ gate.wait() }, tell: { told.append("first") })
    workshop.run(
      { 7 },
      tell: { [reactor] in
        told.append("second: \($0)")
        reactor.stop()
      })
    let alarm = Alarm(on: reactor) {
      told.append("the loop")
      gate.open()
    }
    alarm.start(seconds: 0.05)
    reactor.run()
    #expect(told == ["the loop", "first", "second: 7"])
  }

  @Test("a job that hangs does not hold up the end of its workshop")
  func hanging() throws {
    let gate = Gate()
    defer { gate.open() }
    var workshop: Workshop? = Workshop(on: reactor)
    workshop?.run({ gate.wait() }, tell: { Issue.record("nobody is there to be told") })
    workshop = nil
    let alarm = Alarm(on: reactor) { [reactor] in reactor.stop() }
    alarm.start(seconds: 0.05)
    reactor.run()
  }

  @Test("a job nobody waits for any more is not begun, and one that was begun tells nobody")
  func cancelled() throws {
    let gate = Gate()
    let begun = Atomic<Bool>(false)
    let done = Mutex<[Int]>([])
    let workshop = Workshop(on: reactor)
    let first = workshop.run(
      {
        begun.store(true, ordering: .releasing)
        gate.wait()
        done.withLock { $0.append(1) }
      }, tell: { Issue.record("the first was told") })
    while !begun.load(ordering: .acquiring) { usleep(1000) }
    let second = workshop.run(
      { done.withLock { $0.append(2) } }, tell: { Issue.record("the second was told") })
    workshop.run({ done.withLock { $0.append(3) } }, tell: { [reactor] in reactor.stop() })
    workshop.cancel(first)
    workshop.cancel(second)
    gate.open()
    reactor.run()
    #expect(done.withLock { $0 } == [1, 3])
  }

  @Test("names are asked for once, however many want them, and remembered")
  func names() throws {
    let gate = Gate()
    let count = Mutex(0)
    let names = NameDirectory(on: reactor, log: BrokerLog(threshold: .error) { _, _ in }) {
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

  @Test("a name service that does not answer is not waited for; when it does, the names are known")
  func slowNames() throws {
    let gate = Gate()
    let names = NameDirectory(
      on: reactor, log: BrokerLog(threshold: .error) { _, _ in }, waitSeconds: 0.05
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

  @Test("the system's own names are found, and numbers without a name have none")
  func look() {
    #expect(UnixNames.look(0, 0) == UnixNames(user: "root", group: "root"))
    #expect(UnixNames.look(0x7fff_fff0, 0x7fff_fff0) == UnixNames(user: nil, group: nil))
  }
}
