// The results, for people and for programs.
import Foundation
import Gauges
import Plots

extension Double {
  /// A ratio with two decimals.
  var asRatio: String { rounded(2) }
}

/// A finished comparison.
struct Report {
  let results: Results
  let machine: Machine
  let name: String
  /// The duration of the comparison.
  let seconds: Double
  var date = Date()

  /// Writes Markdown, plots and JSON. Returns the path of the Markdown file.
  func write(to directory: String) throws -> String {
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let path = "\(directory)/\(stem)"
    for plot in firstPlots + plots {
      try plot.svg.write(
        toFile: "\(directory)/\(plot.file)", atomically: true, encoding: .utf8)
    }
    try markdown.write(toFile: path + ".md", atomically: true, encoding: .utf8)
    try json.write(to: URL(fileURLWithPath: path + ".json"))
    return path + ".md"
  }

  var markdown: String {
    var text = """
      # virtbench compare, \(day)


      """
    text += firstPage
    text += """
      ## Conditions

      \(machine.processor), \(machine.cores) cores, \(machine.memoryMiB) MiB of memory, Linux \
      \(machine.kernel). \(versions) Load \
      average before it began: \(machine.load.rounded(2)).

      \(rounds) in \(Comparison.text(seconds)), everything measured on every peer in \
      each. Figures are medians, the least and the most in brackets. A ratio is taken within each \
      round; its median is given, the quartiles in brackets. ↑: more is better, ↓: less is better. \
      Every single run is in `\(stem).json`.


      """
    text +=
      results.isPinned
      ? "Each relay was kept on processor 1, and the clients and daemons on processor 0.\n\n"
      : "The kernel was free to run everything on any processor.\n\n"
    if let shortened = results.shortened { text += "\(shortened)\n\n" }
    text += peerTable + overview
    for plot in plots { text += "\n![\(plot.title)](\(plot.file))\n" }
    for kind in results.kinds { text += section(kind) }
    return text
  }

  // MARK: - Tables

  /// The number of rounds; with several files merged, the least and the most of a measurement.
  private var rounds: String {
    let counts = results.kinds.compactMap { kind in
      results.runs.lazy.filter { $0.measurement == kind.title }.map(\.round).max()
    }
    guard let least = counts.min(), let most = counts.max(), least < most else {
      return results.rounds == 1 ? "1 round" : "\(results.rounds) rounds"
    }
    return "\(least) to \(most) rounds"
  }

  private var versions: String {
    let list = machine.versions.map { "\($0.program) \($0.version)" }.joined(separator: ", ")
    return list.isEmpty ? "" : list + "."
  }

  private var peerTable: String {
    var text = "| peer | what it is | |\n|--|--|--|\n"
    for peer in results.peers {
      let skips = results.skips.filter { $0.peer == peer.name && $0.measurement == nil }
      let reasons = skips.map(\.reason).reduce(into: [String]()) {
        if !$0.contains($1) { $0.append($1) }
      }
      let whole = reasons.map { reason in
        let before = skips.filter { $0.reason == reason }.compactMap { $0.backend?.rawValue }
        let place = before.isEmpty ? "" : " before the \(before.joined(separator: " and the "))"
        return "SKIPPED\(place)\(before.isEmpty ? "" : " backend"): \(reason)"
      }
      let parts = results.skips.filter { $0.peer == peer.name }
        .compactMap { skip in skip.measurement.map { "SKIPPED in \($0): \(skip.reason)" } }
      let notes = Self.cell((whole + parts).joined(separator: "; "))
      text += "| \(peer.name) | \(Self.cell(peer.explanation)) | \(notes) |\n"
    }
    return text
  }

  /// The broker compared with each other peer, by the first metric of each measurement.
  private var overview: String {
    let own = Peer.virtbrokerd.rawValue
    let kinds = results.kinds.filter {
      $0.position == nil && results.measured(in: $0).contains(own)
    }
    let others = results.peers.map(\.name).filter { other in
      other != own && kinds.contains { results.measured(in: $0).contains(other) }
    }
    guard !kinds.isEmpty, !others.isEmpty else { return "" }
    var text =
      "\n## The broker against each\n\nIts figure divided by the other's.\n\n| |"
      + others.map { " \($0) |" }.joined() + "\n|--|"
      + String(repeating: "--:|", count: others.count) + "\n"
    for kind in kinds {
      // The first metric, and its processor cost.
      for metric in kind.metrics where metric == kind.metrics.first || metric == .relayCPU {
        text += "| \(kind.title): \(metric.heading) |"
        for other in others {
          let ratio = results.ratio(of: metric, kind, own, to: other)
          text += " \(ratio?.median.asRatio ?? "–") |"
        }
        text += "\n"
      }
    }
    return text
  }

  private func section(_ kind: Kind) -> String {
    let peers = results.measured(in: kind)
    guard !peers.isEmpty else { return "\n## \(kind.title)\n\nSKIPPED on every peer.\n" }
    let baseline = results.baseline
    let isCompared = peers.contains(baseline)
    var text = "\n## \(kind.title)\n\n| |"
    for metric in kind.metrics {
      text += " \(metric.heading) |"
      if isCompared { text += " to \(baseline) |" }
    }
    text +=
      "\n|--|" + String(repeating: "--:|", count: kind.metrics.count * (isCompared ? 2 : 1)) + "\n"
    for peer in peers {
      text += "| \(peer) |"
      for metric in kind.metrics {
        text += " \(figure(results.spread(of: metric, kind, peer), metric)) |"
        if isCompared {
          text += " \(ratio(results.ratio(of: metric, kind, peer, to: baseline))) |"
        }
      }
      text += "\n"
    }
    if !isCompared { text += "\nNo ratios: \(baseline) gave no figure here.\n" }
    return text
  }

  private func figure(_ spread: Spread?, _ metric: Metric) -> String {
    guard let spread else { return "–" }
    func write(_ figure: Double) -> String { figure.rounded(metric.places) }
    return "\(write(spread.median)) (\(write(spread.least))–\(write(spread.most)))"
  }

  private func ratio(_ spread: Spread?) -> String {
    guard let spread else { return "–" }
    let (low, high) = (spread.lowerQuartile.asRatio, spread.upperQuartile.asRatio)
    return "\(spread.median.asRatio) (\(low)–\(high))"
  }

  /// A table's cell is one line without vertical bars.
  static func cell(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).joined(separator: " ")
      .replacingOccurrences(of: "|", with: "\\|")
  }

  // MARK: - Programs

  var json: Data {
    get throws {
      struct Summary: Encodable {
        let measurement, peer, metric, unit: String
        let spread: Spread
        let ratioToBaseline: Spread?
      }
      struct Document: Encodable {
        let date: String
        let seconds: Double
        let machine: Machine
        let results: Results
        let summary: [Summary]
      }
      let summary = results.kinds.flatMap { kind in
        results.measured(in: kind).flatMap { peer in
          kind.metrics.compactMap { metric in
            results.spread(of: metric, kind, peer).map {
              Summary(
                measurement: kind.title, peer: peer, metric: metric.name, unit: metric.unit,
                spread: $0,
                ratioToBaseline: results.ratio(of: metric, kind, peer, to: results.baseline))
            }
          }
        }
      }
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      return try encoder.encode(
        Document(
          date: day, seconds: seconds, machine: machine, results: results, summary: summary))
    }
  }

  var stem: String { "\(day)-\(name)" }

  var day: String { Self.days.string(from: date) }

  /// Days as they are written in reports and their names.
  static var days: DateFormatter {
    let format = DateFormatter()
    format.locale = Locale(identifier: "en_US_POSIX")
    format.timeZone = TimeZone(identifier: "UTC")
    format.dateFormat = "yyyy-MM-dd"
    return format
  }
}
