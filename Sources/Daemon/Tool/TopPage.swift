// The page of virtbroker top: the text of one sample of the broker's state, for a window of a given size.

/// One sample of the broker's state.
struct Look {
  var status = Row([])
  /// The rows of the views that were requested.
  var rows: [TopView: [Row]] = [:]

  var json: String {
    func list(_ view: TopView) -> String {
      "[" + (rows[view] ?? []).map { JSON.object($0) }.joined(separator: ", ") + "]"
    }
    return "{\"status\": \(JSON.object(status)), \"streams\": \(list(.streams)), "
      + "\"clients\": \(list(.clients)), \"calls\": \(list(.calls))}"
  }
}

/// The choices the user has made with keys.
struct TopChoice {
  struct Order {
    var column: Int
    var isFalling: Bool
  }

  var view: TopView
  private var orders: [TopView: Order] = [:]
  /// The index of the first row that is shown.
  var first = 0
  var isHelp = false
  var isPaused = false

  init(view: TopView) { self.view = view }

  var order: Order {
    get {
      let table = view.table
      return orders[view]
        ?? Order(column: table.usual, isFalling: table.columns[table.usual].isFallingAtFirst)
    }
    set { orders[view] = newValue }
  }

  mutating func show(_ new: TopView) {
    view = new
    first = 0
  }

  mutating func sort(by column: Int) {
    order = Order(column: column, isFalling: view.table.columns[column].isFallingAtFirst)
    first = 0
  }

  /// The next column, or the one before it.
  mutating func sortNext(_ step: Int) {
    let count = view.table.columns.count
    sort(by: (order.column + step + count) % count)
  }
}

/// A page for a terminal: a head, the table of the view, and the keys in the last line.
struct TopPage {
  struct Line {
    var text: String
    /// Shown in reverse, over the whole width.
    var isBar = false
  }

  let look: Look
  let choice: TopChoice

  /// Number of lines above and below the rows.
  private static let around = 5
  /// Number of rows that a window of this height has room for.
  static func room(in height: Int) -> Int { max(1, height - around) }

  func lines(width: Int, height: Int) -> [Line] {
    var lines = head(width)
    if choice.isHelp {
      lines += help.map { Line(text: $0) }
    } else {
      let order = choice.order
      let table = choice.view.table
      let rows = table.sorted(
        look.rows[choice.view] ?? [], by: order.column, isFalling: order.isFalling)
      let first = min(choice.first, max(0, rows.count - TopPage.room(in: height)))
      let shown = Array(rows.dropFirst(first).prefix(TopPage.room(in: height)))
      let text = table.lines(
        shown, width: width, sortedBy: order.column, mark: order.isFalling ? "▼" : "▲")
      lines.append(tabs(width, shown: shown.count, of: rows.count, from: first))
      lines.append(Line(text: text[0], isBar: true))
      lines += text.dropFirst().map { Line(text: $0) }
      if rows.isEmpty { lines.append(Line(text: "no \(choice.view.rawValue)")) }
    }
    lines = Array(lines.prefix(max(1, height - 1)))
    while lines.count < height - 1 { lines.append(Line(text: "")) }
    if height > 1 { lines.append(Line(text: keys(width), isBar: true)) }
    return lines.map { Line(text: String($0.text.prefix(width)), isBar: $0.isBar) }
  }

  /// The two first lines, the same in every view.
  func head(_ width: Int) -> [Line] {
    let status = look.status
    let streams = look.rows[.streams] ?? []
    let calls = look.rows[.calls] ?? []
    let rate = streams.reduce(0) { $0 + ($1.number("bytes_per_second") ?? 0) }
    let paused = streams.count { !$0.text("paused_by").isEmpty }
    let oldest = calls.compactMap { $0.number("age_seconds") }.max()
    var first =
      "virtbrokerd \(status.text("version")), pid \(status.text("pid")), up "
      + Words.age(status.number("uptime_seconds") ?? 0)
    if status.text("stopping") == "yes" { first += ", STOPPING" }
    if choice.isPaused { first += ", display paused" }
    return [
      Line(text: first),
      Line(
        text: "clients \(status.text("clients"))/\(status.text("clients_max"))  streams "
          + "\(streams.count)\(paused > 0 ? " (\(paused) paused)" : "")  calls "
          + "\(calls.count)\(oldest.map { " (oldest \(Words.age($0)))" } ?? "")  moving "
          + Words.rate(rate)),
    ]
  }

  private func tabs(_ width: Int, shown: Int, of count: Int, from first: Int) -> Line {
    let names = TopView.allCases.enumerated().map { index, view in
      view == choice.view ? "[\(index + 1) \(view.title)]" : " \(index + 1) \(view.title) "
    }.joined(separator: " ")
    let title = choice.view.table.columns[choice.order.column].title
    let place = count > shown ? "\(first + 1)-\(first + shown) of \(count)" : "\(count)"
    let right = "\(place), by \(title)"
    let space = width - names.count - right.count
    return Line(text: space > 0 ? names + String(repeating: " ", count: space) + right : names)
  }

  private func keys(_ width: Int) -> String {
    if choice.isHelp { return "any key: back   q Quit" }
    let long =
      "1-3/Tab View  </> Sort  r Reverse  Up/Down Scroll  p Pause  h Help  q Quit"
    return long.count <= width ? long : "1-3 View  </> Sort  h Help  q Quit"
  }

  private var help: [String] {
    [
      "", "1 2 3, Tab        streams, clients, calls",
      "< >, Left Right   sort by the column before or behind",
      "r                 reverse the order", "Up Down PgUp PgDn Home  scroll",
      "p, Space          stop and continue the display, not the broker",
      "h ? F1            this page", "q F10             quit", "",
      "Streams: UP is what went to the daemon, DOWN what went to the client, in bytes;",
      "  PAUSED BY: what does not accept more, the client, the backend, or the limit.",
      "  virtbroker kill-stream STREAM ends a stream.",
      "Clients: QUEUED waits for the client to read, RATE/S is of all its streams,",
      "  PAUSED: the broker does not read from the client for now.",
      "Calls: those that no daemon has answered. An old one is stuck in its daemon.",
    ]
  }
}
