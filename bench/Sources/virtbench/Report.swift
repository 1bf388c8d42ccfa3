// The results, for people and for programs.
import Ends
import Foundation
import Gauges

/// Every figure of a comparison, in the order it was measured.
struct ResultTable {
  struct Cell: Codable {
    let work: String
    let peer: String
    let metric: Metric
    var values: [Double]
  }
  let peers: [Peer]
  private(set) var cells: [Cell] = []
  private(set) var works: [Work] = []

  init(peers: [Peer]) { self.peers = peers }

  mutating func add(_ value: Double, of metric: Metric, _ work: Work, _ peer: Peer) {
    if !works.contains(work) { works.append(work) }
    let index = cells.firstIndex {
      $0.work == work.title && $0.peer == peer.rawValue && $0.metric == metric
    }
    if let index {
      cells[index].values.append(value)
    } else {
      cells.append(Cell(work: work.title, peer: peer.rawValue, metric: metric, values: [value]))
    }
  }

  func spread(of metric: Metric, _ work: Work, _ peer: Peer) -> Spread? {
    cells.first { $0.work == work.title && $0.peer == peer.rawValue && $0.metric == metric }
      .flatMap { Spread($0.values) }
  }
}

/// A comparison that is done.
struct Report {
  let table: ResultTable
  let rounds: Int
  let missing: [String]
  let date = Date()

  /// Writes both files; the path of the Markdown one.
  func write(to directory: String, name: String?) throws -> String {
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true)
    let stem = "\(directory)/\(name ?? day)"
    try markdown.write(toFile: stem + ".md", atomically: true, encoding: .utf8)
    try json.write(to: URL(fileURLWithPath: stem + ".json"))
    return stem + ".md"
  }

  var markdown: String {
    var text = """
      # virtbench compare, \(day)

      \(Machine.processor), \(Machine.cores) cores, Linux \(Machine.kernel). Rounds: \(rounds), \
      everything measured on every peer in each. Figures are medians, the least and the most in \
      brackets. CPU is the relay's process only.


      """
    for peer in table.peers { text += "- \(peer.rawValue): \(peer.explanation)\n" }
    if !missing.isEmpty { text += "\nNot installed: \(missing.joined(separator: ", ")).\n" }
    for work in table.works {
      text += "\n## \(work.title)\n\n| |" + work.metrics.map { " \($0.rawValue) |" }.joined()
      for (metric, other) in work.ratios { text += " \(metric.rawValue) to \(other.rawValue) |" }
      let columns = work.metrics.count + work.ratios.count
      text += "\n|--|" + String(repeating: "--:|", count: columns) + "\n"
      for peer in table.peers {
        text += "| \(peer.rawValue) |"
        for metric in work.metrics {
          guard let spread = table.spread(of: metric, work, peer) else {
            text += " – |"
            continue
          }
          func write(_ figure: Double) -> String { figure.rounded(metric.places) }
          text += " \(write(spread.median)) (\(write(spread.least))–\(write(spread.most))) |"
        }
        for (metric, other) in work.ratios { text += " \(ratio(metric, work, peer, other)) |" }
        text += "\n"
      }
    }
    return text
  }

  private func ratio(_ metric: Metric, _ work: Work, _ peer: Peer, _ to: Peer) -> String {
    guard let own = table.spread(of: metric, work, peer),
      let other = table.spread(of: metric, work, to), other.median > 0
    else { return "–" }
    return (own.median / other.median).rounded(2)
  }

  private var json: Data {
    get throws {
      struct Document: Encodable {
        let date: String
        let processor: String
        let cores: Int
        let kernel: String
        let rounds: Int
        let cells: [Entry]
      }
      struct Entry: Encodable {
        let work: String
        let peer: String
        let metric: Metric
        let values: [Double]
        let spread: Spread?
      }
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      return try encoder.encode(
        Document(
          date: day, processor: Machine.processor, cores: Machine.cores, kernel: Machine.kernel,
          rounds: rounds,
          cells: table.cells.map {
            Entry(
              work: $0.work, peer: $0.peer, metric: $0.metric, values: $0.values,
              spread: Spread($0.values))
          }))
    }
  }

  private var day: String {
    let format = DateFormatter()
    format.locale = Locale(identifier: "en_US_POSIX")
    format.timeZone = TimeZone(identifier: "UTC")
    format.dateFormat = "yyyy-MM-dd"
    return format.string(from: date)
  }
}

/// What the figures depend on beside the programs.
enum Machine {
  static var cores: Int { ProcessInfo.processInfo.activeProcessorCount }

  static var kernel: String {
    (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8))?
      .trimmingCharacters(in: .whitespacesAndNewlines) ?? "?"
  }

  static var processor: String {
    let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = lines.split(separator: "\n").first { $0.hasPrefix("model name") }
    return line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) }
      ?? "an unnamed processor"
  }
}
