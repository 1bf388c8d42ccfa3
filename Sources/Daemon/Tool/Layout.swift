// Tables for a window: as many columns as fit, and no line longer than the window's width.

/// A table whose columns can shrink or be left out, and by whose columns rows can be sorted.
struct WindowTable: Sendable {
  enum SortKey: Comparable, Sendable {
    case number(Double)
    case text(String)
  }

  struct Column: Sendable {
    let title: String
    /// The least width of this column; nil: the width of its widest cell.
    let least: Int?
    /// If there is no room, columns with a higher number are left out first; 0: never left out. Columns above `luxury`
    /// are shown only if no other column has to be cut for them.
    let dispensable: Int
    let isRight: Bool
    let key: @Sendable (Row) -> SortKey
    let cell: @Sendable (Row) -> String

    /// Text that may be cut.
    init(
      _ title: String, least: Int? = nil, dispensable: Int = 0,
      cell: @escaping @Sendable (Row) -> String
    ) {
      self.title = title
      self.least = least
      self.dispensable = dispensable
      isRight = false
      key = { .text(cell($0)) }
      self.cell = cell
    }

    /// A number and its text.
    init(
      _ title: String, number: String, dispensable: Int = 0,
      cell: @escaping @Sendable (Double) -> String
    ) {
      self.title = title
      least = nil
      self.dispensable = dispensable
      isRight = true
      key = { .number($0.number(number) ?? 0) }
      self.cell = { $0.number(number).map(cell) ?? "" }
    }

    /// The first order of this column: the largest number or the first text on top.
    var isFallingAtFirst: Bool { isRight }
  }

  private static let luxury = 4
  let columns: [Column]
  /// The index of the column by which rows are sorted at first.
  let usual: Int

  /// The rows in the order of a column. Rows that are equal in it keep their order.
  func sorted(_ rows: [Row], by column: Int, isFalling: Bool) -> [Row] {
    let keyed = rows.enumerated().map { (key: columns[column].key($1), place: $0, row: $1) }
    return keyed.sorted { one, other in
      if one.key == other.key { return one.place < other.place }
      return isFalling ? one.key > other.key : one.key < other.key
    }.map(\.row)
  }

  /// The titles, and a line for each row. `mark` shows the column by which `rows` are sorted.
  func lines(_ rows: [Row], width: Int, sortedBy: Int, mark: String) -> [String] {
    let titles = columns.indices.map { columns[$0].title + ($0 == sortedBy ? mark : "") }
    let cells = rows.map { row in
      columns.map { column in
        let text = column.cell(row)
        return text.isEmpty ? "-" : text
      }
    }
    let widths = widths(titles, cells, in: width)
    return ([titles] + cells).map { line in
      var text = ""
      for index in columns.indices {
        guard let width = widths[index] else { continue }
        let cell = WindowTable.cut(line[index], width)
        let space = String(repeating: " ", count: width - cell.count)
        if !text.isEmpty { text += " " }
        text += columns[index].isRight ? space + cell : cell + space
      }
      while text.last == " " { text.removeLast() }
      return String(text.prefix(width))
    }
  }

  /// The width of each column; nil: it is left out.
  private func widths(_ titles: [String], _ cells: [[String]], in room: Int) -> [Int?] {
    let natural = columns.indices.map { index in
      cells.reduce(titles[index].count) { max($0, $1[index].count) }
    }
    let least = columns.indices.map { index in
      columns[index].least.map { min(natural[index], max($0, titles[index].count)) }
        ?? natural[index]
    }
    var shown = Array(columns.indices)
    func needed(_ widths: [Int]) -> Int {
      shown.reduce(0) { $0 + widths[$1] } + max(0, shown.count - 1)
    }
    for index in shown.sorted(by: { columns[$0].dispensable > columns[$1].dispensable })
    where columns[index].dispensable > WindowTable.luxury && needed(natural) > room {
      shown.removeAll { $0 == index }
    }
    while needed(least) > room,
      let next = shown.filter({ columns[$0].dispensable > 0 })
        .max(by: { columns[$0].dispensable < columns[$1].dispensable })
    {
      shown.removeAll { $0 == next }
    }
    // The remaining width goes to the narrowest column that is cut, one character at a time.
    var widths = least
    var spare = room - needed(least)
    while spare > 0,
      let poorest = shown.filter({ widths[$0] < natural[$0] }).min(by: { widths[$0] < widths[$1] })
    {
      widths[poorest] += 1
      spare -= 1
    }
    return columns.indices.map { shown.contains($0) ? widths[$0] : nil }
  }

  static func cut(_ text: String, _ width: Int) -> String {
    text.count <= width ? text : width < 1 ? "" : text.prefix(width - 1) + "…"
  }
}

/// What `virtbroker top` shows.
enum TopView: String, CaseIterable, Sendable {
  case streams, clients, calls

  var title: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }

  var table: WindowTable {
    switch self {
    case .streams: .streams
    case .clients: .clients
    case .calls: .calls
    }
  }
}

extension WindowTable {
  private static func text(_ name: String) -> @Sendable (Row) -> String { { $0.text(name) } }
  private static let count: @Sendable (Double) -> String = { "\(Int64($0))" }
  /// Numbers of clients and serials sort as numbers but are aligned left like names.
  private static let age: @Sendable (Double) -> String = { Words.age($0) }
  private static let size: @Sendable (Double) -> String = { Words.short($0) }

  static let streams = WindowTable(
    columns: [
      Column("STREAM", cell: text("stream")),
      Column("IDENTITY", least: 8, cell: { $0.whose }),
      Column("USER", dispensable: 8, cell: text("user")),
      Column("KIND", dispensable: 2, cell: text("kind")),
      Column("OBJECT", least: 8, cell: text("object")),
      Column("UP", number: "bytes_up", cell: size),
      Column("DOWN", number: "bytes_down", cell: size),
      Column("RATE/S", number: "bytes_per_second", cell: size),
      Column("AGE", number: "age_seconds", dispensable: 1, cell: age),
      Column("PAUSED BY", dispensable: 3, cell: text("paused_by")),
    ], usual: 7)

  static let clients = WindowTable(
    columns: [
      Column("CLIENT", number: "client", cell: count),
      Column("IDENTITY", least: 8, cell: { $0.whose }),
      Column("FROM", least: 8, cell: { $0.origin }),
      Column("RO", dispensable: 8, cell: text("read_only")),
      Column("STATE", dispensable: 5, cell: text("state")),
      Column("URI", least: 8, dispensable: 6, cell: text("uri")),
      Column("CALLS", number: "calls", cell: count),
      Column("STREAMS", number: "streams", cell: count),
      Column("QUEUED", number: "queued_bytes", cell: size),
      Column("RATE/S", number: "bytes_per_second", cell: size),
      Column("AGE", number: "age_seconds", dispensable: 1, cell: age),
      Column("PAUSED", dispensable: 7, cell: text("paused")),
    ], usual: 9)

  static let calls = WindowTable(
    columns: [
      Column("CLIENT", number: "client", cell: count),
      Column("SERIAL", number: "serial", dispensable: 2, cell: count),
      Column("IDENTITY", least: 8, cell: { $0.whose }),
      Column("USER", dispensable: 8, cell: text("user")),
      Column("PROCEDURE", least: 12, cell: text("procedure")),
      Column("OBJECT", least: 8, cell: text("object")),
      Column("DAEMON", least: 6, dispensable: 1, cell: text("daemon")),
      Column("AGE", number: "age_seconds", cell: age),
    ], usual: 7)
}
