// When a broker drains, stops and ends.
import Testing

@testable import Streams

@Suite("lifetime")
struct LifetimeTests {
  private var lifetime = Lifetime()

  @Test("a drain without a time limit ends with the last client")
  mutating func drain() {
    lifetime.drain(clients: 2, seconds: nil, at: 10)
    #expect(lifetime.isDraining && !lifetime.acceptsClients && !lifetime.isStopping)
    #expect(lifetime.deadline == nil)
    lifetime.clientLeft(leaving: 1)
    #expect(lifetime.state == .draining(until: nil))
    lifetime.clientLeft(leaving: 0)
    #expect(lifetime.state == .over)
  }

  @Test("a drain without clients is over at once")
  mutating func empty() {
    lifetime.drain(clients: 0, seconds: 60, at: 10)
    #expect(lifetime.state == .over)
  }

  @Test("a drain whose time is up becomes a stop")
  mutating func timeUp() {
    lifetime.drain(clients: 1, seconds: 60, at: 10)
    #expect(lifetime.deadline == 70)
    #expect(lifetime.timeUp() == .drained)
    lifetime.stop(clients: 1, seconds: 3, at: 70)
    #expect(lifetime.state == .stopping(until: 73))
    #expect(lifetime.timeUp() == .stopped)
    #expect(lifetime.state == .over)
  }

  @Test("a second drain changes the time limit, removes it, or leaves it")
  mutating func again() {
    lifetime.drain(clients: 1, seconds: 60, at: 10)
    lifetime.drain(clients: 1, seconds: nil, at: 20)
    #expect(lifetime.deadline == 70)
    lifetime.drain(clients: 1, seconds: 5, at: 30)
    #expect(lifetime.deadline == 35)
    lifetime.drain(clients: 1, seconds: 0, at: 31)
    #expect(lifetime.state == .draining(until: nil))
    #expect(lifetime.timeUp() == .nothing)
  }

  @Test("a drain does not take the time when the broker was to stop for want of clients")
  mutating func idle() {
    lifetime.occupancyChanged(isEmpty: true, idleSeconds: 5, at: 10)
    lifetime.drain(clients: 1, seconds: nil, at: 11)
    #expect(lifetime.deadline == nil)
    lifetime.occupancyChanged(isEmpty: true, idleSeconds: 5, at: 12)
    #expect(lifetime.deadline == nil)
  }

  @Test("a stop that has begun continues when the broker is drained")
  mutating func stopping() {
    lifetime.stop(clients: 1, seconds: 3, at: 10)
    lifetime.drain(clients: 1, seconds: 600, at: 11)
    #expect(lifetime.state == .stopping(until: 13))
  }

  @Test("the first stop of a draining broker lets calls finish, the second one ends it")
  mutating func stopTwice() {
    lifetime.drain(clients: 1, seconds: nil, at: 10)
    lifetime.stop(clients: 1, seconds: 3, at: 11)
    #expect(lifetime.state == .stopping(until: 14))
    lifetime.stop(clients: 1, seconds: 3, at: 12)
    #expect(lifetime.state == .over)
  }
}
