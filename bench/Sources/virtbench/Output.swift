// The output of a command: a table for people, JSON for programs, and progress on standard error.
import Ends
import Foundation
import Gauges
import Synchronization

/// A finished measurement as JSON, with all its parameters.
struct Outcome<Run: Encodable, Figure: Encodable>: Encodable {
  let command: String
  let uri: String
  let run: Run
  let result: Figure

  func print() throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    Swift.print(String(decoding: try encoder.encode(self), as: UTF8.self))
  }
}

/// Rows of a name and columns of figures, aligned.
struct Table {
  private var rows: [[String]] = []

  mutating func add(_ cells: String...) { rows.append(cells) }

  func print() {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    for row in rows {
      let cells = row.enumerated().map { column, cell in
        let fill = String(repeating: " ", count: widths[column] - cell.count)
        // Names are left-aligned, figures right-aligned.
        return column == 0 ? cell + fill : fill + cell
      }
      Swift.print(cells.joined(separator: "  "))
    }
  }
}

extension Table {
  mutating func add(_ name: String, _ quantiles: Quantiles) {
    add("", "p50", "p90", "p99", "p99.9", "max")
    add(
      name, quantiles.p50.rounded(1), quantiles.p90.rounded(1), quantiles.p99.rounded(1),
      quantiles.p999.rounded(1), quantiles.max.rounded(1))
  }

  mutating func add(_ name: String, _ figure: CallRun.Figure) {
    add("", "calls/s", "p50", "p90", "p99", "p99.9", "max", "CPU µs/call")
    add(
      name, figure.perSecond.rounded(0), figure.p50.rounded(1), figure.p90.rounded(1),
      figure.p99.rounded(1), figure.p999.rounded(1), figure.max.rounded(1),
      figure.cpuPerCall?.rounded(2) ?? "–")
  }
}

/// One line on standard error with the progress of a long run. Only on a terminal.
final class Progress: Sendable {
  private let isShown = isatty(2) == 1
  private let text: Mutex<String>
  private let isOver = StopSign()

  /// Runs `body`, and shows meanwhile what runs and for how long.
  static func during<Value>(_ what: String, seconds: Double?, _ body: (Progress) throws -> Value)
    throws -> Value
  {
    let progress = Progress(what)
    let start = now()
    if progress.isShown {
      try detach {
        while !progress.isOver.isUp {
          let elapsed = (now() - start) / 1_000_000_000
          let of = seconds.map { " of \(Int($0.rounded(.up)))" } ?? ""
          if elapsed > 0 { progress.show("\(elapsed)\(of) s") }
          usleep(500_000)
        }
      }
    }
    defer {
      progress.isOver.raise()
      if progress.isShown { progress.write("\r\u{1b}[K") }
    }
    return try body(progress)
  }

  private init(_ text: String) { self.text = Mutex(text) }

  /// Sets the name of what runs now.
  func say(_ text: String) {
    self.text.withLock { $0 = text }
    if isShown { show("") }
  }

  private func show(_ time: String) {
    write("\r\u{1b}[K\(text.withLock { $0 }) \(time)")
  }

  private func write(_ text: String) {
    guard !isOver.isUp || text.hasSuffix("[K") else { return }
    FileHandle.standardError.write(Data(text.utf8))
  }
}
