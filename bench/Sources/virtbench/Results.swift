// Every single run of a comparison, and what several of them come to.
import Foundation
import Gauges

/// What is kept of a measurement when it has run.
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
  /// Since the comparison began, and how long it took.
  var start, seconds: Double
  /// By the metric's name.
  var figures: [String: Double]
}

/// Something that was to be measured and could not be.
struct Skip: Codable, Equatable, Sendable {
  var peer: String
  /// nil: everything in front of that backend, or everything at all.
  var measurement: String?
  var backend: Backend?
  var reason: String
}

/// All that a report is made of.
struct Results: Codable, Sendable {
  struct PeerNote: Codable, Equatable, Sendable { var name, explanation: String }
  var peers: [PeerNote]
  var kinds: [Kind]
  var baseline: String
  var runs: [SingleRun] = []
  var skips: [Skip] = []
  /// Rounds that were finished, and why there are no more, if fewer than asked for.
  var rounds = 0
  var shortened: String?
  /// Relays were kept on one processor, the ends on another.
  var isPinned = false

  /// A figure for each round; nil where there is none.
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

  /// One peer's figures over another's, paired by rounds.
  func ratio(of metric: Metric, _ kind: Kind, _ peer: String, to other: String) -> Spread? {
    Spread(of: figures(of: metric, kind, peer), to: figures(of: metric, kind, other))
  }

  /// Those that gave a figure in this measurement, in their order.
  func measured(in kind: Kind) -> [String] {
    let found = Set(runs.lazy.filter { $0.measurement == kind.title }.map(\.peer))
    return peers.map(\.name).filter(found.contains)
  }
}

/// How long things took, to tell how long the rest will.
struct Pace {
  struct Step: Hashable { var measurement, peer: String }
  private var seconds: [Step: [Double]] = [:]

  mutating func took(_ time: Double, _ step: Step) { seconds[step, default: []].append(time) }

  /// Seconds for all of `steps`, each as long as it took before, else as its measurement took on
  /// other peers, else as the mean of everything; nil before anything has run.
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
