// Prometheus's text format.

/// The text of a scrape, family by family.
struct Exposition {
  enum Kind: String { case counter, gauge, histogram }

  private(set) var text = ""
  private var family = ""

  /// Begins a family. Its samples follow.
  mutating func family(_ name: String, _ kind: Kind, _ help: String) {
    family = "virtbroker_" + name
    text += "# HELP \(family) \(help)\n# TYPE \(family) \(kind.rawValue)\n"
  }

  /// A sample of the family. The labels' values are the broker's own words, or are written so that nothing in
  /// them can end the line.
  mutating func sample(_ labels: [(String, String)], _ value: Double, suffix: String = "") {
    text += family + suffix
    if !labels.isEmpty {
      text += "{"
      for (index, (name, value)) in labels.enumerated() {
        text += "\(index == 0 ? "" : ",")\(name)=\"\(Exposition.escaped(value))\""
      }
      text += "}"
    }
    text += " \(Exposition.number(value))\n"
  }

  mutating func sample(_ labels: [(String, String)], _ value: UInt64, suffix: String = "") {
    sample(labels, Double(value), suffix: suffix)
  }

  mutating func sample(_ value: UInt64) { sample([], value) }

  mutating func histogram(_ labels: [(String, String)], _ histogram: Histogram) {
    var sum: UInt64 = 0
    for (bound, count) in zip(histogram.bounds, histogram.counts) {
      sum += count
      sample(labels + [("le", Exposition.number(bound))], sum, suffix: "_bucket")
    }
    sample(labels + [("le", "+Inf")], histogram.count, suffix: "_bucket")
    sample(labels, histogram.sum, suffix: "_sum")
    sample(labels, histogram.count, suffix: "_count")
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

/// How often something took how long. Counting is two additions and a search among a dozen bounds.
struct Histogram {
  /// Upper bounds of the buckets, in seconds.
  let bounds: [Double]
  private(set) var counts: [UInt64]
  private(set) var count: UInt64 = 0
  private(set) var sum = 0.0

  static let usualBounds = [
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30,
  ]

  init(_ bounds: [Double] = Histogram.usualBounds) {
    self.bounds = bounds
    counts = Array(repeating: 0, count: bounds.count)
  }

  mutating func note(_ seconds: Double) {
    count &+= 1
    sum += seconds
    for index in bounds.indices where seconds <= bounds[index] {
      counts[index] &+= 1
      return
    }
  }
}
