// virtbroker top: shows the current activity at intervals until the user quits.
import ArgumentParser
@preconcurrency import Glibc
import Streams

extension TopView: ExpressibleByArgument {}

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Shows streams, clients and calls live; h shows the keys, q ends it.",
    discussion: "Where the output is no terminal, one page follows the other.")
  @OptionGroup var socket: SocketOptions
  @Flag(help: "Print one JSON object for each look, on a line of its own.") var json = false
  @Option(help: "Seconds between two looks.") var interval = 1.0
  @Option(help: "Looks before it ends; 0: until it is ended.") var count = 0
  @Option(help: "What to show at first.") var view = TopView.streams
  @Option(help: "The title of the column to sort by at first, like rate/s or age.")
  var sort: String?

  func validate() throws {
    try checkInterval(interval, from: 0.1)
    guard count >= 0 else { throw ToolFailure.usage(.invalidCount, [count]) }
    guard sort == nil || sortColumn != nil else {
      let titles = view.table.columns.map { $0.title.lowercased() }.joined(separator: ", ")
      throw ToolFailure.usage(.unknownColumn, [view.rawValue, printable(sort ?? ""), titles])
    }
  }

  private var sortColumn: Int? {
    sort.flatMap { name in
      view.table.columns.firstIndex { $0.title.lowercased() == name.lowercased() }
    }
  }

  func run() throws {
    let connection = try socket.connect()
    let screen = json ? nil : Screen()
    defer { screen?.leave() }
    var choice = TopChoice(view: view)
    if let sortColumn { choice.sort(by: sortColumn) }
    var rates = Rates()
    rates.note(try connection.rows { .streams(after: $0) })
    var looks = 0
    var look: Look?
    repeat {
      let pause = looks == 0 ? min(interval, 0.5) : interval
      guard wait(pause, on: screen, look, &choice) else { return }
      if !choice.isPaused || look == nil {
        look = try self.look(connection, &rates, choice.view)
        looks += 1
      }
      if let look { show(look, choice, on: screen) }
    } while count == 0 || looks < count
  }

  /// Waits until the next sample. A key takes effect at once, on the current sample. Returns false if the program ends.
  private func wait(
    _ seconds: Double, on screen: Screen?, _ look: Look?, _ choice: inout TopChoice
  ) -> Bool {
    guard let screen else { return Screen.sleep(seconds: seconds) }
    let end = Connection.now + seconds
    while true {
      switch screen.wait(until: end) {
      case .timeUp: return true
      case .over: return false
      case .resized: break
      case .key(let key):
        let before = choice.view
        guard obey(key, &choice, rows: look?.rows[choice.view]?.count ?? 0, screen) else {
          return false
        }
        // The current sample has no rows of the new view.
        if choice.view != before, look?.rows[choice.view] == nil { return true }
      }
      if let look { show(look, choice, on: screen) }
    }
  }

  /// Returns false if the program ends.
  private func obey(
    _ key: Screen.Key, _ choice: inout TopChoice, rows: Int, _ screen: Screen
  ) -> Bool {
    if case .character("q") = key { return false }
    if case .function(10) = key { return false }
    if choice.isHelp {
      choice.isHelp = false
      return true
    }
    let room = TopPage.room(in: screen.size.lines)
    func scroll(_ step: Int) {
      choice.first = min(max(0, choice.first + step), max(0, rows - room))
    }
    switch key {
    case .character("1"): choice.show(.streams)
    case .character("2"): choice.show(.clients)
    case .character("3"): choice.show(.calls)
    case .character("\t"):
      let all = TopView.allCases
      let next = (all.firstIndex(of: choice.view) ?? 0) + 1
      choice.show(all[next % all.count])
    case .character("<"), .left: choice.sortNext(-1)
    case .character(">"), .right: choice.sortNext(1)
    case .character("r"):
      choice.order.isFalling.toggle()
      choice.first = 0
    case .character("p"), .character(" "): choice.isPaused.toggle()
    case .character("h"), .character("?"), .function(1): choice.isHelp = true
    case .up: scroll(-1)
    case .down: scroll(1)
    case .pageUp: scroll(-room)
    case .pageDown: scroll(room)
    case .home: choice.first = 0
    default: break
    }
    return true
  }

  private func look(
    _ connection: Connection, _ rates: inout Rates, _ view: TopView
  ) throws -> Look {
    var look = Look()
    look.status = try connection.rows { _ in .status }.first ?? Row([])
    let streams = rates.note(try connection.rows { .streams(after: $0) })
    look.rows[.streams] = streams
    look.rows[.calls] = try connection.rows { .calls(after: $0) }
    // There may be thousands of clients, and the other views do not need them.
    if view == .clients || json {
      look.rows[.clients] = rated(try connection.rows { .clients(after: $0) }, by: streams)
    }
    return look
  }

  /// The clients, each with the sum of the rates of its streams.
  private func rated(_ clients: [Row], by streams: [Row]) -> [Row] {
    var rates: [String: Double] = [:]
    for stream in streams {
      rates[stream.text("client"), default: 0] += stream.number("bytes_per_second") ?? 0
    }
    return clients.map { client in
      var client = client
      client.set("bytes_per_second", .double(rates[client.text("client")] ?? 0))
      return client
    }
  }

  private func show(_ look: Look, _ choice: TopChoice, on screen: Screen?) {
    guard let screen else {
      print(look.json)
      fflush(stdout)
      return
    }
    let page = TopPage(look: look, choice: choice)
    if screen.isTerminal {
      let size = screen.size
      screen.show(page.lines(width: size.columns, height: size.lines))
    } else {
      print(text(page, look, choice))
      fflush(stdout)
    }
  }

  /// The page as text, as wide and as long as its content needs.
  private func text(_ page: TopPage, _ look: Look, _ choice: TopChoice) -> String {
    let order = choice.order
    let rows = choice.view.table.sorted(
      look.rows[choice.view] ?? [], by: order.column, isFalling: order.isFalling)
    var parts = page.head(.max).map(\.text) + [""]
    switch choice.view {
    case .streams:
      let oldest = WindowTable.calls.sorted(
        look.rows[.calls] ?? [], by: WindowTable.calls.usual, isFalling: true)
      parts += Table.streams.lines(rows) + [""] + Table.calls.lines(oldest)
    case .clients: parts += Table.clients.lines(rows)
    case .calls: parts += Table.calls.lines(rows)
    }
    return parts.joined(separator: "\n") + "\n"
  }
}
