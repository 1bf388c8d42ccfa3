// virtbroker top: what is under way, again and again, until somebody has seen enough.
import ArgumentParser
@preconcurrency import Glibc
import Streams

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Shows streams and calls live; q ends it.",
    discussion: "Where the output is no terminal, one page follows the other.")
  @OptionGroup var socket: SocketOptions
  @Flag(help: "Print one JSON object for each look, on a line of its own.") var json = false
  @Option(help: "Seconds between two looks.") var interval = 1.0
  @Option(help: "Looks before it ends; 0: until it is ended.") var count = 0

  func validate() throws {
    try checkInterval(interval, from: 0.1)
    guard count >= 0 else { throw ValidationError("expected a count from 0 on, found \(count)") }
  }

  func run() throws {
    let connection = try socket.connect()
    let screen = json ? nil : Screen()
    defer { screen?.leave() }
    var rates = Rates()
    rates.note(try connection.rows { .streams(after: $0) })
    var looks = 0
    repeat {
      let pause = looks == 0 ? min(interval, 0.5) : interval
      guard screen?.wait(seconds: pause) ?? Screen.sleep(seconds: pause) else { return }
      let view = View(
        status: try connection.rows { _ in .status }.first ?? Row([]),
        streams: rates.note(try connection.rows { .streams(after: $0) }),
        calls: try connection.rows { .calls(after: $0) })
      if let screen { screen.show(view) } else { print(view.json) }
      fflush(stdout)
      looks += 1
    } while count == 0 || looks < count
  }
}

/// One look at everything.
struct View {
  let status: Row
  let streams: [Row]
  let calls: [Row]

  init(status: Row, streams: [Row], calls: [Row]) {
    self.status = status
    func falling(_ name: String) -> (Row, Row) -> Bool {
      { ($0.number(name) ?? 0, $1.text("stream")) > ($1.number(name) ?? 0, $0.text("stream")) }
    }
    // The fastest stream and the call that hangs longest are what one looks for.
    self.streams = streams.sorted(by: falling("bytes_per_second"))
    self.calls = calls.sorted(by: falling("age_seconds"))
  }

  var json: String {
    func list(_ rows: [Row]) -> String {
      "[" + rows.map { JSON.object($0) }.joined(separator: ", ") + "]"
    }
    return "{\"status\": \(JSON.object(status)), \"streams\": \(list(streams)), "
      + "\"calls\": \(list(calls))}"
  }

  /// As many lines as there is room for; the streams get two thirds of it where both need more.
  func lines(height: Int) -> [String] {
    let rate = streams.reduce(0) { $0 + ($1.number("bytes_per_second") ?? 0) }
    let head = [
      "virtbrokerd \(status.text("version")), pid \(status.text("pid")), up "
        + Words.age(status.number("uptime_seconds") ?? 0),
      "clients \(status.text("clients"))/\(status.text("clients_max"))  streams \(streams.count)  "
        + "calls \(calls.count)  moving \(Words.rate(rate))",
      "",
    ]
    // Titles of both tables, and the empty line between them.
    let room = max(2, height - head.count - 3)
    let callRoom = min(calls.count, max(room / 3, room - streams.count))
    let streamRoom = min(streams.count, room - callRoom)
    return head + View.cut(Table.streams.lines(streams), streamRoom) + [""]
      + View.cut(Table.calls.lines(calls), callRoom)
  }

  /// The titles and `room` rows; where there are more, the last line says so.
  private static func cut(_ lines: [String], _ room: Int) -> [String] {
    let rows = lines.count - 1
    guard rows > room else { return lines }
    return lines.prefix(1 + max(0, room - 1)) + ["… and \(rows - max(0, room - 1)) more"]
  }
}
