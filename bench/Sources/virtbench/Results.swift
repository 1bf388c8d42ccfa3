// Every run of a comparison, and the summary of several runs.
import Foundation
import Gauges

/// A measurement as recorded in the results.
struct Kind: Codable, Equatable, Sendable {
  var name, title, label, family: String
  var metrics: [Metric]
  var backend: Backend
  var position: Position?

  init(_ measurement: any Load) {
    (name, title) = (measurement.name, measurement.title)
    (label, family, metrics) = (measurement.label, measurement.family, measurement.metrics)
    (backend, position) = (measurement.backend, measurement.position)
  }
}

/// One run of one measurement on one peer.
struct SingleRun: Codable, Equatable, Sendable {
  var round: Int
  var measurement, peer: String
  /// Seconds from the start of the comparison, and the duration.
  var start, seconds: Double
  /// By the name of the metric.
  var figures: [String: Double]
}

/// A measurement that was skipped or failed.
struct Skip: Codable, Equatable, Sendable {
  var peer: String
  /// nil: all measurements with that backend, or all of them.
  var measurement: String?
  var backend: Backend?
  var reason: String
}

/// The data of a report.
struct Results: Codable, Sendable {
  struct PeerNote: Codable, Equatable, Sendable { var name, explanation: String }
  var peers: [PeerNote]
  var kinds: [Kind]
  var baseline: String
  var runs: [SingleRun] = []
  var skips: [Skip] = []
  /// Finished rounds, and the reason if they are fewer than requested.
  var rounds = 0
  var shortened: String?
  /// Whether relays were pinned to one processor and the ends to another.
  var isPinned = false

  /// A figure for each round; nil if there is none.
  func figures(of metric: Metric, _ kind: Kind, _ peer: String) -> [Double?] {
    var figures = [Double?](repeating: nil, count: rounds)
    for run in runs where run.measurement == kind.title && run.peer == peer {
      if (1...max(1, rounds)).contains(run.round), run.round <= rounds {
        figures[run.round - 1] = run.figures[metric.name]
      }
    }
    return figures
  }

  func spread(of metric: Metric, _ kind: Kind, _ peer: String) -> Spread? {
    Spread(figures(of: metric, kind, peer).compactMap { $0 })
  }

  /// The ratios of one peer's figures to another's, paired by rounds.
  func ratio(of metric: Metric, _ kind: Kind, _ peer: String, to other: String) -> Spread? {
    Spread(of: figures(of: metric, kind, peer), to: figures(of: metric, kind, other))
  }

  /// The peers with a figure in this measurement, in their order.
  func measured(in kind: Kind) -> [String] {
    let found = Set(runs.lazy.filter { $0.measurement == kind.title }.map(\.peer))
    return peers.map(\.name).filter(found.contains)
  }
}

/// The durations of past runs, to estimate the remaining time.
struct Pace {
  struct Step: Hashable { var measurement, peer: String }
  private var seconds: [Step: [Double]] = [:]

  mutating func took(_ time: Double, _ step: Step) { seconds[step, default: []].append(time) }

  /// The estimated seconds for all of `steps`: the past duration of each step, otherwise that of its measurement on
  /// other peers, otherwise the mean of all runs. nil before the first run.
  func estimate(_ steps: [Step]) -> Double? {
    guard let everything = mean(seconds.values.flatMap { $0 }) else { return nil }
    var byMeasurement: [String: Double] = [:]
    return steps.reduce(0) { sum, step in
      if let own = seconds[step].flatMap(mean) { return sum + own }
      let like =
        byMeasurement[step.measurement]
        ?? mean(seconds.filter { $0.key.measurement == step.measurement }.values.flatMap { $0 })
        ?? everything
      byMeasurement[step.measurement] = like
      return sum + like
    }
  }

  private func mean(_ times: [Double]) -> Double? {
    times.isEmpty ? nil : times.reduce(0, +) / Double(times.count)
  }
}
