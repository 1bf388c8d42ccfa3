// Which pairs of state and event the simulations meet, and why others cannot be met.
import Testing

@testable import Simulator
@testable import Streams

@Suite("simulation coverage")
struct SimulationCoverageTests {
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
      ["resting", "locating", "connecting", "awaitingNames", "settling"], ["answered"],
      "no call of the broker's own is under way"),
    Rule(
      ["resting", "locating", "connecting"], ["ended"], "nothing is read before it is connected"),
    Rule(
      Upstream.State.names.filter { $0 != "talkingSASL" }, ["sasl"],
      "the library answers what it was asked"),
  ]

  /// Where connections can be when something happens to them.
  private static let connections = [
    "connects": ["queued"], "accepted": ["queued"], "arrives": ["waiting"],
    "admitted": ["waiting"], "authenticated": ["client"], "departs": ["client"],
    // TLS connections are watched while they wait, others are looked at now and then.
    "leaves": Arrival.Stage.names, "hung up": ["waiting", "client"],
    "ends": ["shaking", "waiting", "confirming"], "dropped": ["waiting", "confirming", "client"],
    "too large": ["client"], "stop": Arrival.Stage.names, "drain": Arrival.Stage.names,
    "limits": Arrival.Stage.names,
    "settings": ["client"], "closed": ["client"],
  ]

  @Test("connections of brokers meet everything at every stage where it can happen")
  func brokers() {
    let coverage = SessionCoverage()
    for seed: UInt64 in 0..<1500 { _ = BrokerWorld(seed: seed, coverage: coverage).run() }
    for (event, stages) in SimulationCoverageTests.connections {
      for stage in Arrival.Stage.names {
        let pair = SessionCoverage.Pair(state: stage, event: event)
        #expect((coverage.connection[pair] != nil) == stages.contains(stage), "\(pair)")
      }
    }
    #expect(
      Set(coverage.connection.keys.map(\.event)) == Set(SimulationCoverageTests.connections.keys))
  }

  @Test("sessions meet every pair of state and event but those that are impossible")
  func sessions() {
    let coverage = SessionCoverage()
    for seed: UInt64 in 0..<4000 {
      // What is wrong with a run is for the first test to tell.
      _ = SessionWorld(seed: seed, coverage: coverage).run()
    }
    check(
      coverage.session, Session.State.names, SessionEvent.names,
      SimulationCoverageTests.impossible, SimulationCoverageTests.rare)
    check(
      coverage.upstream, Upstream.State.names, UpstreamEvent.names,
      SimulationCoverageTests.impossibleUpstream, [])
  }

  private func check(
    _ reached: [SessionCoverage.Pair: Int], _ states: [String], _ events: [String],
    _ impossible: [Rule], _ rare: [Rule]
  ) {
    for state in states {
      for event in events {
        let pair = SessionCoverage.Pair(state: state, event: event)
        if let rule = impossible.first(where: { $0.covers(pair) }) {
          #expect(reached[pair] == nil, "\(pair) was reached, though \(rule.reason)")
        } else if !rare.contains(where: { $0.covers(pair) }) {
          #expect(reached[pair] != nil, "\(pair) was not reached")
        }
      }
    }
  }
}
