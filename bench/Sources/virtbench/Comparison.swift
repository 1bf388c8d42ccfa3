// The rotation: every measurement on every peer, in rounds.
import Dispatch
import Ends
import Foundation

struct Comparison {
  let measurements: [any Load]
  /// The running peers in front of each backend.
  let subjects: [Backend: [Subject]]
  let rounds: Int
  /// No round starts that would end later than this many seconds after `beginning`.
  let budget: Double?
  let beginning: UInt64
  let note: (String) -> Void

  /// Measures; adds runs and failures to `results`. A measurement that fails on a peer is not repeated on it.
  func run(into results: inout Results) {
    var pace = Pace()
    var failed = Set<Pace.Step>()
    for round in 1...rounds {
      let steps = plan(round).filter { !failed.contains($0.step) }
      if let budget, round > 1, let estimate = pace.estimate(steps.map(\.step)),
        elapsed + estimate > budget
      {
        results.shortened =
          "The time allowed was enough for \(round - 1) of \(rounds) rounds."
        note("no time for round \(round)")
        if round == 2 {
          // Whole minutes, rounded up, so that the advised time is enough.
          let minutes = Int(((elapsed + estimate) / 60).rounded(.up))
          let warning =
            "--minutes \(Self.minutes(budget)) is too short for two rounds, which take about "
            + "\(minutes) min: each figure is that of a single run and says nothing of how far runs differ"
          results.shortened? += " WARNING: \(warning)."
          note("WARNING: \(warning)")
        }
        return
      }
      var title: String?
      for (index, (step, measurement, subject)) in steps.enumerated() {
        if title != measurement.title {
          let rest = steps[index...].map(\.step)
          let later = (round..<rounds).flatMap { plan($0 + 1) }.map(\.step)
            .filter { !failed.contains($0) }
          var line = "round \(round) of \(rounds): \(measurement.title)"
          if let left = pace.estimate(rest + later) { line += "; \(Self.text(left)) left" }
          note(line)
          title = measurement.title
        }
        let start = elapsed
        do {
          let figures = try Self.inTime(measurement, subject)
          results.runs.append(
            SingleRun(
              round: round, measurement: measurement.title, peer: subject.peer, start: start,
              seconds: elapsed - start,
              figures: Dictionary(uniqueKeysWithValues: figures.map { ($0.key.name, $0.value) })))
          pace.took(elapsed - start, step)
        } catch {
          failed.insert(step)
          results.skips.append(
            Skip(peer: subject.peer, measurement: measurement.title, reason: "\(error)"))
          note("SKIPPED: \(subject.peer), \(measurement.title): \(error)")
        }
      }
      results.rounds = round
    }
  }

  /// The order of a round's runs: in the first round as the peers were named, later shuffled, the same in each
  /// comparison. A run affects the one after it, and a relay after a direct connection starts with cold caches. With
  /// an order that was only rotated, the peer in that place lost 15 % of its rate of calls.
  func plan(_ round: Int) -> [(step: Pace.Step, measurement: any Load, subject: Subject)] {
    var chance = Chance(state: UInt64(round))
    return measurements.flatMap { measurement in
      let peers = (subjects[measurement.backend] ?? []).filter { measurement.isFor(peer: $0.peer) }
      return (round == 1 ? peers : peers.shuffled(using: &chance)).map {
        (Pace.Step(measurement: measurement.title, peer: $0.peer), measurement, $0)
      }
    }
  }

  /// Measures on a thread of its own and abandons the thread at the time limit: a hanging peer loses its own figures
  /// and does not stop the comparison.
  private static func inTime(_ load: any Load, _ subject: Subject) throws -> [Metric: Double] {
    final class Answer: @unchecked Sendable {
      let isThere = DispatchSemaphore(value: 0)
      var result: Result<[Metric: Double], any Error>?
    }
    let answer = Answer()
    Thread {
      answer.result = Result { try load.measure(subject) }
      answer.isThere.signal()
    }.start()
    let deadline = DispatchTime.now() + .milliseconds(Int(min(load.patience, 1e6) * 1000))
    guard answer.isThere.wait(timeout: deadline) == .success, let result = answer.result else {
      throw EndFailure("not done after \(text(load.patience))")
    }
    return try result.get()
  }

  private var elapsed: Double { Double(now() - beginning) / 1e9 }

  /// SplitMix64.
  private struct Chance: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
      mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
      return mixed ^ mixed >> 31
    }
  }

  /// The value of the option.
  private static func minutes(_ seconds: Double) -> String { String(format: "%g", seconds / 60) }

  /// Seconds in a readable form.
  static func text(_ seconds: Double) -> String {
    let whole = Int(min(max(seconds, 0), 1e6).rounded())
    return whole < 90 ? "\(whole) s" : "\((whole + 30) / 60) min"
  }
}
