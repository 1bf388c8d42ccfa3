// The rotation continues after any failure and keeps its time limit.
import Ends
import Foundation
import Testing

@testable import virtbench

/// A load that only records its calls, and fails as configured.
struct NotedLoad: Load {
  final class Notes: @unchecked Sendable {
    var asked: [String] = []
  }
  var name: String
  let notes: Notes
  var failing: [String] = []
  var seconds = 0.0
  var patience = 60.0

  var title: String { "the load \(name)" }
  var metrics: [Metric] { [.throughput] }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    notes.asked.append("\(name)/\(subject.peer)")
    if seconds > 0 { usleep(UInt32(seconds * 1e6)) }
    if failing.contains(subject.peer) { throw EndFailure("it broke") }
    return [.throughput: Double(notes.asked.count)]
  }
}

@Suite("Rotation")
struct ComparisonTests {
  private let peers = ["a", "b", "c"]

  private func compare(
    _ loads: [NotedLoad], rounds: Int, budget: Double? = nil
  ) -> (results: Results, said: [String]) {
    var results = Results(
      peers: peers.map { .init(name: $0, explanation: "") }, kinds: loads.map(Kind.init),
      baseline: "a")
    var said: [String] = []
    Comparison(
      measurements: loads,
      subjects: [.synthetic: peers.map { Subject(peer: $0, place: .unix(path: "/nowhere")) }],
      rounds: rounds, budget: budget, beginning: now(), note: { said.append($0) }
    ).run(into: &results)
    return (results, said)
  }

  @Test("peers take turns in a shuffled order, so that no peer always follows the same other one")
  func turns() {
    let notes = NotedLoad.Notes()
    let (results, said) = compare(
      [NotedLoad(name: "x", notes: notes), NotedLoad(name: "y", notes: notes)], rounds: 2)
    #expect(notes.asked.prefix(6) == ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c"])
    #expect(notes.asked[6..<9].sorted() == ["x/a", "x/b", "x/c"])
    #expect(notes.asked[9...].sorted() == ["y/a", "y/b", "y/c"])
    #expect(results.rounds == 2 && results.runs.count == 12 && results.skips.isEmpty)
    #expect(
      results.runs.map { "\($0.measurement.suffix(1))/\($0.peer)" } == notes.asked)
    #expect(results.figures(of: .throughput, results.kinds[0], "a").first == 1)
    #expect(said.filter { $0.hasSuffix("left") }.count == 3, "all but the first know how long")

    let many = NotedLoad.Notes()
    _ = compare([NotedLoad(name: "x", notes: many)], rounds: 300)
    var follows: [String: Int] = [:]
    for (one, next) in zip(many.asked, many.asked.dropFirst()) {
      follows[one + next, default: 0] += 1
    }
    for (one, next) in [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("a", "c"), ("c", "a")] {
      #expect((75...175).contains(follows["x/\(one)x/\(next)"] ?? 0), "\(next) behind \(one)")
    }
  }

  @Test("a peer that fails is skipped with the reason, and no other peer is")
  func failing() {
    let notes = NotedLoad.Notes()
    let (results, said) = compare(
      [NotedLoad(name: "x", notes: notes, failing: ["b"]), NotedLoad(name: "y", notes: notes)],
      rounds: 3)
    #expect(notes.asked.filter { $0 == "x/b" }.count == 1, "it is not asked again")
    #expect(notes.asked.filter { $0 == "y/b" }.count == 3)
    #expect(results.skips == [Skip(peer: "b", measurement: "the load x", reason: "it broke")])
    #expect(said.contains("SKIPPED: b, the load x: it broke"))
    #expect(results.measured(in: results.kinds[0]) == ["a", "c"])
    #expect(results.measured(in: results.kinds[1]) == ["a", "b", "c"])
  }

  @Test("a hanging peer loses its own figures and does not stop the comparison")
  func hanging() {
    let (results, _) = compare(
      [
        NotedLoad(name: "x", notes: .init(), seconds: 30, patience: 0.05),
        NotedLoad(name: "y", notes: .init()),
      ], rounds: 2)
    #expect(results.skips.map(\.reason) == Array(repeating: "not done after 0 s", count: 3))
    #expect(results.runs.count == 6 && results.runs.allSatisfy { $0.measurement == "the load y" })
  }

  @Test("no round starts that would end too late, and the results say so")
  func budget() {
    let (results, _) = compare(
      [NotedLoad(name: "x", notes: .init(), seconds: 0.1)], rounds: 100, budget: 0.8)
    #expect(results.rounds >= 1 && results.rounds <= 2)
    #expect(results.runs.count == results.rounds * 3)
    #expect(results.shortened?.contains("of 100 rounds") == true)
  }

  @Test(
    "the first round is measured in any case, and a warning names the option if time is too short")
  func noTime() {
    let (results, said) = compare([NotedLoad(name: "x", notes: .init())], rounds: 5, budget: 6e-9)
    #expect(results.rounds == 1)
    let warning = "WARNING: --minutes 1e-10 is too short for two rounds, which take about 1 min"
    #expect(said.contains { $0.hasPrefix(warning) }, "\(said)")
    #expect(results.shortened?.contains(warning) == true)
  }

  @Test("two rounds in the time limit, or a single requested one, give no warning")
  func enoughTime() {
    let load = NotedLoad(name: "x", notes: .init())
    let (two, said) = compare([load], rounds: 2, budget: 1000)
    #expect(two.rounds == 2 && two.shortened == nil)
    #expect(!said.contains { $0.contains("WARNING") })
    let (one, more) = compare([load], rounds: 1, budget: 1e-9)
    #expect(one.rounds == 1 && one.shortened == nil && !more.contains { $0.contains("WARNING") })
  }

  @Test("the estimate uses past runs: of the same step, else of the same measurement, else of all")
  func pace() throws {
    var pace = Pace()
    let known = Pace.Step(measurement: "x", peer: "a")
    #expect(pace.estimate([known]) == nil)
    pace.took(2, known)
    pace.took(4, known)
    pace.took(9, Pace.Step(measurement: "x", peer: "b"))
    pace.took(1, Pace.Step(measurement: "y", peer: "a"))
    func seconds(_ measurement: String, _ peer: String) throws -> Double {
      try #require(pace.estimate([Pace.Step(measurement: measurement, peer: peer)]))
    }
    #expect(try seconds("x", "a") == 3)
    #expect(try seconds("x", "c") == 5)
    #expect(try seconds("z", "a") == 4)
    #expect(
      try #require(pace.estimate([known, Pace.Step(measurement: "y", peer: "b")])) == 4)
  }
}
