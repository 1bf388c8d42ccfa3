// Closes of foreign descriptors that hang.
import Streams
import Synchronization
import Testing

@testable import Broker

@Suite("closer")
struct CloserTests {
  private static let hanging: Int32 = 1
  private static let quick: Int32 = 2
  private let reactor: Reactor
  private let pool: BlockingPool

  init() throws {
    reactor = try Reactor()
    pool = BlockingPool(on: reactor)
  }

  @Test("closes of one origin that hang delay no other origin, and no other service")
  func hanging() throws {
    let state = Mutex((begun: 0, quick: 0))
    let gate = Gate()
    defer { gate.open() }
    let closer = Closer(on: pool, quota: Quota(total: 1000, share: 1000)) { number in
      guard number == CloserTests.hanging else { return state.withLock { $0.quick += 1 } }
      state.withLock { $0.begun += 1 }
      gate.wait()
    }
    for _ in 0..<40 { closer.close(CloserTests.hanging, for: .user(1), isCounted: false) }
    closer.close(CloserTests.quick, for: .user(2), isCounted: false)
    var isNamed = false
    let alarm = Alarm(on: reactor) { [reactor] in reactor.stop() }
    pool.run(.names, { 7 }, completion: { _ in isNamed = true })
    wait(alarm) { isNamed && state.withLock { $0.quick == 1 && $0.begun == 16 } }
    #expect(isNamed)
    #expect(state.withLock { $0.quick } == 1)
    #expect(state.withLock { $0.begun } == 16, "an origin has 16 threads")
    #expect(closer.waitingCount == 24)
  }

  @Test("a descriptor stays counted until it is closed")
  func quota() throws {
    let gate = Gate()
    let closer = Closer(on: pool, quota: Quota(total: 100, share: 20)) { _ in gate.wait() }
    for _ in 0..<20 { #expect(closer.tryReserve(for: .user(1))) }
    for _ in 0..<20 { closer.close(CloserTests.hanging, for: .user(1), isCounted: true) }
    #expect(!closer.tryReserve(for: .user(1)))
    #expect(closer.tryReserve(for: .user(2)))
    gate.open()
    let alarm = Alarm(on: reactor) { [reactor] in reactor.stop() }
    var free = 0
    wait(alarm) {
      while closer.tryReserve(for: .user(1)) { free += 1 }
      return free == 20
    }
    #expect(free == 20)
    #expect(closer.waitingCount == 0)
  }

  /// Runs the loop until this is so, 10 seconds at most.
  private func wait(_ alarm: Alarm, until isSo: () -> Bool) {
    for _ in 0..<1000 where !isSo() {
      alarm.start(seconds: 0.01)
      reactor.run()
    }
  }
}
