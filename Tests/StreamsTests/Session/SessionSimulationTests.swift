// A session between its client, its backends and its services, with everything going wrong that can.
import Testing

@testable import Streams

@Suite("session simulation")
struct SessionSimulationTests {
  @Test("a session keeps its promises whatever its ends do", arguments: 0..<20)
  func promises(part: Int) {
    let first = firstSeed &+ UInt64(part) * 500
    for seed in (0..<500).map({ first &+ $0 }) {
      let problem = SessionWorld(seed: seed).run()
      #expect(problem == nil)
      if problem != nil { return }
    }
  }

  @Test("a session that takes its client for another is found out")
  func canary() {
    let problems = (0..<40).compactMap { SessionWorld(seed: $0, isMistaken: true).run() }
    #expect(problems.contains { $0.contains("mallory") }, "\(problems)")
  }

  @Test("the same seed gives the same run", arguments: 0..<4)
  func repeatable(part: Int) {
    for seed in UInt64(part * 250)..<UInt64(part * 250 + 250) {
      let first = SessionWorld(seed: seed)
      let second = SessionWorld(seed: seed)
      #expect(first.run() == second.run())
      #expect(first.trace == second.trace, "seed \(seed)")
      if first.trace != second.trace { return }
    }
  }

  @Test("different seeds give different runs")
  func different() {
    let hashes = (0..<200).map { (seed: UInt64) in
      let world = SessionWorld(seed: seed)
      _ = world.run()
      return world.trace.hash
    }
    // A client may vanish before it has done anything.
    #expect(Set(hashes).count > 190)
  }

  // MARK: Coverage

  /// Pairs of states and events, with why they are there.
  private struct Rule {
    let states: [String]
    let events: [String]
    let reason: String
    init(_ states: [String], _ events: [String], _ reason: String) {
      self.states = states
      self.events = events
      self.reason = reason
    }

    func covers(_ pair: SessionCoverage.Pair) -> Bool {
      states.contains(pair.state) && events.contains(pair.event)
    }
  }

  private static let logins = Session.Login.names.map { "loggingIn." + $0 }
  private static let opened = ["connected", "opening", "open", "closing", "lost"]

  private static let impossible = [
    Rule(logins, ["upstream"], "upstreams are opened after the login"),
    Rule(
      logins + ["connected", "opening"], ["needsRoute"],
      "the relay wants routes when the connection is open"),
    Rule(
      [
        "loggingIn.beginning", "loggingIn.stepping", "loggingIn.askingPolkit", "opening", "closing",
        "leaving", "lost",
      ], ["call"], "the relay is held"),
    Rule(
      ["loggingIn.awaited", "loggingIn.offered", "loggingIn.started", "loggingIn.askingPolkit"]
        + opened, ["sasl"], "the service answers what it was asked"),
    Rule(
      ["awaited", "beginning", "offered", "stepping", "started"].map { "loggingIn." + $0 } + opened,
      ["polkit"], "polkit answers what it was asked"),
  ]

  /// Pairs that take a coincidence, as an answer that arrives in the last moments of a session.
  private static let rare = [
    Rule(
      ["turnedAway", "closing", "leaving", "lost"], ["needsRoute"],
      "the route is wanted in the very turn in which the state changes"),
    Rule(
      ["closing", "leaving", "lost"], ["namesKnown"], "the names arrive at the end of the session"),
    Rule(["turnedAway", "leaving"], ["polkit", "sasl"], "turned away while the service is asked"),
    Rule(["leaving"], ["upstream"], "turned away with upstreams"),
    Rule(
      logins + ["turnedAway"], ["progress"], "something is being sent when the broker stops"),
  ]

  private static let impossibleUpstream = [
    Rule(
      Upstream.State.names.filter { $0 != "locating" }, ["located", "unavailable"],
      "the daemon is looked for once"),
    Rule(
      Upstream.State.names.filter { $0 != "connecting" }, ["attached", "connected", "failed"],
      "a connection is made after its daemon was found, and once"),
    Rule(
      ["locating", "connecting", "awaitingNames", "ready"], ["answered"],
      "no call of the broker's own is under way"),
    Rule(["locating", "connecting"], ["ended"], "nothing is read before it is connected"),
    Rule(
      Upstream.State.names.filter { $0 != "talkingSASL" }, ["sasl"],
      "the library answers what it was asked"),
  ]

  @Test("the runs reach every pair of state and event but those that are impossible")
  func coverage() {
    let coverage = SessionCoverage()
    for seed: UInt64 in 0..<4000 {
      // What is wrong with a run is for the first test to tell.
      _ = SessionWorld(seed: seed, coverage: coverage).run()
    }
    check(
      coverage.session, Session.State.names, SessionEvent.names,
      SessionSimulationTests.impossible, SessionSimulationTests.rare)
    check(
      coverage.upstream, Upstream.State.names, UpstreamEvent.names,
      SessionSimulationTests.impossibleUpstream, [])
  }

  private func check(
    _ reached: Set<SessionCoverage.Pair>, _ states: [String], _ events: [String],
    _ impossible: [Rule], _ rare: [Rule]
  ) {
    for state in states {
      for event in events {
        let pair = SessionCoverage.Pair(state: state, event: event)
        if let rule = impossible.first(where: { $0.covers(pair) }) {
          #expect(!reached.contains(pair), "\(pair) was reached, though \(rule.reason)")
        } else if !rare.contains(where: { $0.covers(pair) }) {
          #expect(reached.contains(pair), "\(pair) was not reached")
        }
      }
    }
  }
}
