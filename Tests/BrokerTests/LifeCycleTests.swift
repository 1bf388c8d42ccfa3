// The broker's states from serving to stopped.
import Testing

@testable import Broker

@Suite("life cycle")
struct LifeCycleTests {
  private let reactor: Reactor

  init() throws { reactor = try Reactor() }

  /// Runs the loop until every timer that is due has fired.
  private func runDueTimers() {
    let alarm = Alarm(on: reactor) { [reactor] in reactor.stop() }
    alarm.start(seconds: 0.001)
    reactor.run()
  }

  @Test("the idle alarm may stop the broker from its own callback, and the time limit follows")
  func idleTimeout() {
    var events: [String] = []
    var life: LifeCycle?
    life = LifeCycle(on: reactor) { [reactor] in
      events.append("idle")
      life?.stop(clients: 1, within: 0) {
        events.append("limit")
        reactor.stop()
      }
    }
    #expect(life?.isStopping == false)
    life?.occupancyChanged(isEmpty: true, idleSeconds: 1)
    reactor.run()
    #expect(events == ["idle", "limit"])
    #expect(life?.isStopping == true)
    life = nil
  }

  @Test("a new client cancels the idle timeout")
  func occupied() {
    let life = LifeCycle(on: reactor) { Issue.record("the idle alarm fired") }
    life.occupancyChanged(isEmpty: true, idleSeconds: 1)
    life.occupancyChanged(isEmpty: false, idleSeconds: 1)
    runDueTimers()
  }

  @Test("a stopping broker has no idle timeout")
  func stopping() {
    let life = LifeCycle(on: reactor) { Issue.record("the idle alarm fired") }
    life.occupancyChanged(isEmpty: true, idleSeconds: 1)
    life.stop(clients: 1, within: 60) { Issue.record("the time limit passed") }
    life.occupancyChanged(isEmpty: true, idleSeconds: 1)
    runDueTimers()
  }

  @Test("the time limit of a drain may stop the broker from its own callback")
  func drain() {
    var events: [String] = []
    let life = LifeCycle(on: reactor) { Issue.record("the idle alarm fired") }
    life.drain(clients: 1, within: 0.001) { [reactor, unowned life] in
      events.append("time up")
      life.stop(clients: 1, within: 0) {
        events.append("limit")
        reactor.stop()
      }
    }
    #expect(life.isDraining && !life.isStopping && !life.acceptsClients)
    reactor.run()
    #expect(events == ["time up", "limit"])
  }

  @Test("a warning is due at most once a minute")
  func warnings() {
    var interval = WarningInterval()
    let isDue = [5, 5, 65, 65.5, 66].map { interval.takeDue(at: $0) }
    #expect(isDue == [true, false, false, true, false])
  }
}
