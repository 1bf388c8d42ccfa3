// Prometheus's text format.
import Streams

/// The text of a scrape, family by family.
struct MetricsText {
  enum Kind: String { case counter, gauge, histogram }

  private(set) var text = ""
  private var family = ""

  /// Begins a family. Its samples follow.
  mutating func family(_ name: String, _ kind: Kind, _ help: String) {
    begin("virtbroker_" + name, kind, help)
  }

  /// The same for a family whose name all programs share.
  mutating func processFamily(_ name: String, _ kind: Kind, _ help: String) {
    begin("process_" + name, kind, help)
  }

  private mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
    family = name
    text += "# HELP \(family) \(help)\n# TYPE \(family) \(kind.rawValue)\n"
  }

  /// A sample of the family. The labels' values are the broker's own words, or are escaped so that they cannot end the
  /// line.
  mutating func sample(_ labels: [(String, String)], _ value: Double, suffix: String = "") {
    text += family + suffix
    if !labels.isEmpty {
      text += "{"
      for (index, (name, value)) in labels.enumerated() {
        text += "\(index == 0 ? "" : ",")\(name)=\"\(MetricsText.escaped(value))\""
      }
      text += "}"
    }
    text += " \(MetricsText.number(value))\n"
  }

  mutating func sample(_ labels: [(String, String)], _ value: UInt64, suffix: String = "") {
    sample(labels, Double(value), suffix: suffix)
  }

  mutating func sample(_ value: UInt64) { sample([], value) }

  mutating func histogram(_ labels: [(String, String)], _ histograms: Histograms, _ number: Int = 0)
  {
    let counts = histograms.cumulative(number)
    let bounds = Histograms.bounds.map(MetricsText.number) + ["+Inf"]
    for (bound, count) in zip(bounds, counts) {
      sample(labels + [("le", bound)], count, suffix: "_bucket")
    }
    sample(labels, histograms.sum(number), suffix: "_sum")
    sample(labels, counts.last ?? 0, suffix: "_count")
  }

  private static func number(_ value: Double) -> String {
    if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
    return "\(value)"
  }

  private static func escaped(_ value: String) -> String {
    guard value.contains(where: { $0 == "\\" || $0 == "\"" || $0.isNewline }) else { return value }
    var escaped = ""
    for character in value.unicodeScalars {
      switch character {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.unicodeScalars.append(character)
      }
    }
    return escaped
  }
}
