// The events that lead from one state of an object to another.
import Testing

@testable import Streams

@Suite("life cycles")
struct LifeCycleTests {
  private static func name(_ text: String) -> [UInt8] {
    var writer = XDRWriter()
    writer.string(text)
    return writer.bytes + [UInt8](repeating: 7, count: 16)
  }

  private func domain(
    _ flags: ObjectState.Flags, id: Int32 = -1, _ name: String = "web"
  ) -> ObjectState {
    ObjectState(name: Self.name(name), id: id, flags: flags)
  }

  private func numbers(
    _ kind: ObjectKind, _ old: ObjectState?, _ new: ObjectState?
  ) -> [[Int32]]? {
    kind.events(from: old, to: new)?.map { [$0.event, $0.detail] }
  }

  @Test("a guest that was restarted has stopped and started; one that was not has no event")
  func restarted() {
    let before = domain([.persistent, .active], id: 3)
    #expect(numbers(.domain, before, before) == [])
    let events = ObjectKind.domain.events(
      from: before, to: domain([.persistent, .active], id: 8))
    #expect(events?.map(\.event) == [5, 2])
    #expect(events?.map(\.id) == [-1, 8])
  }

  @Test("guests appear and go in the order in which a daemon reports it")
  func comeAndGo() {
    #expect(numbers(.domain, nil, domain([.persistent])) == [[0, 0]])
    #expect(numbers(.domain, nil, domain([.active], id: 1)) == [[2, 0]])
    #expect(
      numbers(.domain, nil, domain([.persistent, .active, .paused], id: 1)) == [
        [0, 0], [2, 0], [3, 0],
      ])
    #expect(numbers(.domain, domain([.persistent, .active], id: 1), nil) == [[5, 0], [1, 0]])
    #expect(numbers(.domain, domain([.active], id: 1), nil) == [[5, 0]])
    #expect(numbers(.domain, domain([.persistent]), nil) == [[1, 0]])
  }

  @Test("pauses, definitions and names")
  func changes() {
    let running = domain([.persistent, .active], id: 4)
    let paused = domain([.persistent, .active, .paused], id: 4)
    #expect(numbers(.domain, running, paused) == [[3, 0]])
    #expect(numbers(.domain, paused, running) == [[4, 0]])
    #expect(numbers(.domain, running, domain([.active], id: 4)) == [[1, 0]])
    #expect(numbers(.domain, domain([.active], id: 4), running) == [[0, 0]])
    let renamed = ObjectKind.domain.events(
      from: domain([.persistent]), to: domain([.persistent], "mail"))
    #expect(renamed?.map(\.event) == [1, 0] && renamed?.map(\.detail) == [1, 2])
    #expect(renamed?.map(\.name) == [Self.name("web"), Self.name("mail")])
  }

  @Test("a state of a domain that several events lead to is not explained")
  func unexplained() {
    let running = domain([.persistent, .active], id: 4)
    #expect(numbers(.domain, running, domain([.persistent, .active, .other], id: 4)) == nil)
    #expect(numbers(.domain, domain([.persistent, .active, .other], id: 4), running) == [[4, 0]])
  }

  @Test(
    "what events during a survey do not touch is as surveyed, what they touch is as before them")
  func meanwhile() {
    func before(
      _ events: [(Int32, Int32)], _ surveyed: ObjectState?, _ known: ObjectState? = nil
    ) -> ObjectState? {
      ObjectKind.domain.state(
        before: events.map { LifeCycleEvent(event: $0, name: Self.name("web"), id: $1) },
        surveyed: surveyed, known: known)
    }
    let running = domain([.persistent, .active], id: 4)
    let off = domain([.persistent])
    // Started, and listed before or after that.
    #expect(before([(2, 4)], running) == off && before([(2, 4)], off) == off)
    #expect(before([(2, 4)], domain([.active], id: 4)) == nil)
    // Stopped: it ran, with the number that it had.
    #expect(before([(5, -1)], off, running) == running)
    #expect(before([(3, 4)], running) == running)
    #expect(before([(4, 4)], running) == domain([.persistent, .active, .paused], id: 4))
    // Undefined while it ran, then suspended.
    #expect(before([(1, 4), (3, 4)], domain([.active, .paused], id: 4), off) == running)
    #expect(before([(0, -1)], off) == nil)
    #expect(before([], off, running) == off)
  }

  @Test("the other kinds have numbers of their own")
  func others() {
    let (defined, active) = (
      ObjectState(name: [1], flags: [.persistent]), ObjectState(name: [1], flags: [.active])
    )
    for kind in [ObjectKind.network, .storagePool] {
      #expect(numbers(kind, nil, defined) == [[0, 0]])
      #expect(numbers(kind, active, nil) == [[3, 0]])
      #expect(
        numbers(kind, defined, ObjectState(name: [1], flags: [.persistent, .active])) == [[2, 0]])
    }
    #expect(numbers(.nodeDevice, nil, active) == [[0, 0]])
    #expect(numbers(.nodeDevice, active, nil) == [[1, 0]])
    #expect(numbers(.secret, nil, defined) == [[0, 0]])
    #expect(numbers(.secret, defined, nil) == [[1, 0]])
  }

  @Test("the events from one state to another lead there, whatever the two are")
  func consistent() throws {
    let flags: [ObjectState.Flags] = [
      [.persistent], [.active], [.persistent, .active], [.active, .paused],
      [.persistent, .active, .paused],
    ]
    var states: [ObjectState?] = [nil]
    for flags in flags {
      for id: Int32 in flags.contains(.active) ? [1, 2] : [-1] {
        states.append(domain(flags, id: id))
      }
    }
    for old in states {
      for new in states {
        let events = try #require(ObjectKind.domain.events(from: old, to: new))
        var state = old
        for event in events {
          state = ObjectKind.domain.state(after: event, state)
        }
        #expect(state == new)
      }
    }
  }
}
