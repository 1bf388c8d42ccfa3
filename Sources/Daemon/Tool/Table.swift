// Tables: columns as wide as necessary, and numbers as text.

/// Which values of a row are shown, in which order.
struct Table: Sendable {
  struct Column: Sendable {
    let title: String
    let isRight: Bool
    let cell: @Sendable (Row) -> String

    init(_ title: String, right: Bool = false, _ cell: @escaping @Sendable (Row) -> String) {
      self.title = title
      isRight = right
      self.cell = cell
    }

    /// The value with this name, unchanged.
    init(_ title: String, _ name: String, right: Bool = false) {
      self.init(title, right: right) { $0.text(name) }
    }
  }
  let columns: [Column]
  /// A cell with more characters is cut.
  var widest = 48

  init(_ columns: [Column]) { self.columns = columns }

  func text(_ rows: [Row]) -> String { lines(rows).joined(separator: "\n") }

  /// The titles, and a line for each row.
  func lines(_ rows: [Row]) -> [String] {
    let cells =
      [columns.map(\.title)]
      + rows.map { row in columns.map { column in cut(column.cell(row)) } }
    let widths = columns.indices.map { index in cells.map { $0[index].count }.max() ?? 0 }
    return cells.map { line in
      let padded = columns.indices.map { index in
        let space = String(repeating: " ", count: widths[index] - line[index].count)
        return columns[index].isRight ? space + line[index] : line[index] + space
      }
      var text = padded.joined(separator: "  ")
      while text.last == " " { text.removeLast() }
      return text
    }
  }

  private func cut(_ cell: String) -> String {
    if cell.isEmpty { return "-" }
    return cell.count <= widest ? cell : cell.prefix(widest - 1) + "…"
  }
}

/// Numbers as text.
enum Words {
  /// `17 B`, `1.5 KiB`, `23.0 GiB`.
  static func bytes(_ count: Double) -> String {
    if count < 1024 { return "\(Int(count)) B" }
    var count = count
    var unit = 0
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
    count /= 1024
    // A value that would be rounded to 1024 belongs to the next unit.
    while count >= 1023.95, unit + 1 < units.count {
      count /= 1024
      unit += 1
    }
    return "\(tenths(count)) \(units[unit])"
  }

  /// The same in at most five characters, for narrow columns: `17`, `1.5K`, `293K`, `23.0G`.
  static func short(_ count: Double) -> String {
    let text = bytes(count)
    guard let blank = text.firstIndex(of: " ") else { return text }
    var number = text[..<blank]
    let unit = text[text.index(after: blank)...]
    if unit == "B" { return String(number) }
    if number.count > 4 { number = number.prefix { $0 != "." } }
    return String(number) + unit.prefix(1)
  }

  static func rate(_ bytesPerSecond: Double) -> String { bytes(bytesPerSecond) + "/s" }

  /// `0.4s`, `12s`, `3m05s`, `2h14m`, `3d04h`.
  static func age(_ seconds: Double) -> String {
    if seconds < 10 { return "\(tenths(max(0, seconds)))s" }
    let whole = Int(min(seconds, 1e12))
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    switch whole {
    case ..<60: return "\(whole)s"
    case ..<3600: return "\(whole / 60)m\(two(whole % 60))s"
    case ..<86_400: return "\(whole / 3600)h\(two(whole / 60 % 60))m"
    default: return "\(whole / 86_400)d\(two(whole / 3600 % 24))h"
    }
  }

  private static func tenths(_ number: Double) -> String {
    let tenths = Int((min(number, 1e12) * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}
