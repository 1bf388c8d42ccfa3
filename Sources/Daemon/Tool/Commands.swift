// The commands that print once and exit.
import ArgumentParser
@preconcurrency import Glibc
import Streams

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows the broker as a whole.")
  @OptionGroup var socket: SocketOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    guard let row = try socket.connect().rows({ _ in .status }).first else {
      throw ToolFailure(.noStatusRow)
    }
    if output.json { return print(JSON.object(row)) }
    let lines = [
      ("version", row.text("version")), ("pid", row.text("pid")),
      ("up for", Words.age(row.number("uptime_seconds") ?? 0)),
      ("listens on", row.text("listeners")),
      ("clients", "\(row.text("clients")) of at most \(row.text("clients_max"))"),
      ("not logged in", row.text("unauthenticated")),
      ("administrators", row.text("administrators")), ("calls", row.text("calls")),
      ("streams", row.text("streams")), ("draining", row.text("draining")),
      ("stopping", row.text("stopping")),
    ]
    for (title, text) in lines {
      print(title + String(repeating: " ", count: 16 - title.count) + text)
    }
  }
}

struct ClientsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "clients", abstract: "Lists the clients and what each has under way.")
  @OptionGroup var socket: SocketOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    output.show(try socket.connect().rows { .clients(after: $0) }, as: .clients)
  }
}

struct StreamsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "streams", abstract: "Lists the streams: whose, of what, how much and how fast.")
  @OptionGroup var socket: SocketOptions
  @OptionGroup var output: OutputOptions
  @Option(help: "Seconds over which the rate is measured; 0: since each stream began.")
  var interval = 0.5

  func validate() throws { try checkInterval(interval, from: 0) }

  func run() throws {
    let connection = try socket.connect()
    var rates = Rates()
    if interval > 0 {
      rates.note(try connection.rows { .streams(after: $0) })
      usleep(useconds_t(interval * 1e6))
    }
    output.show(rates.note(try connection.rows { .streams(after: $0) }), as: .streams)
  }
}

struct CallsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calls", abstract: "Lists the calls that no daemon has answered yet.")
  @OptionGroup var socket: SocketOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let calls = try socket.connect().rows { .calls(after: $0) }
    output.show(
      calls.sorted { ($0.number("age_seconds") ?? 0) > ($1.number("age_seconds") ?? 0) },
      as: .calls)
  }
}

struct KillStreamCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kill-stream",
    abstract: "Ends a stream.",
    discussion: """
      The client gets a stream error with the reason, and the broker tells the daemon that the client gave up. \
      The client's connection, and everything else on it, continues.
      """)
  @OptionGroup var socket: SocketOptions
  @Flag(help: "Print JSON.") var json = false
  @Option(help: "What to tell the client, in at most \(BrokerCall.reasonLimit) bytes.")
  var reason = ""
  @Argument(help: "The stream as `streams` shows it: CLIENT/SERIAL.")
  var stream: String

  private var place: (client: UInt64, serial: UInt32)? {
    let parts = stream.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let client = UInt64(parts[0]), let serial = UInt32(parts[1]) else {
      return nil
    }
    return (client, serial)
  }

  func validate() throws {
    guard place != nil else {
      throw ToolFailure.usage(.invalidStreamName, [printable(stream)])
    }
    guard reason.utf8.count <= BrokerCall.reasonLimit else {
      throw ToolFailure.usage(.reasonTooLong, [BrokerCall.reasonLimit])
    }
  }

  func run() throws {
    guard let place else { return }
    try socket.connect().call(
      .endStream(client: place.client, serial: place.serial, reason: reason))
    let row = Row([TypedParameter("ended", .string(stream))])
    print(json ? JSON.object(row) : "stream \(stream) was ended")
  }
}

/// The upper bound catches typing mistakes; the comparison also refuses NaN.
func checkInterval(_ seconds: Double, from least: Double) throws {
  guard seconds >= least, seconds <= 3600 else {
    throw ToolFailure.usage(.invalidInterval, [least, seconds])
  }
}

/// The rates of streams, from one sample to the next.
struct Rates {
  private var last: [String: (bytes: Double, at: Double)] = [:]

  /// The rows with `bytes_per_second`: since the last sample, or for a new stream since it began.
  @discardableResult
  mutating func note(_ rows: [Row], at now: Double = Connection.now) -> [Row] {
    var current: [String: (bytes: Double, at: Double)] = [:]
    let rated = rows.map { row in
      let name = row.text("stream")
      let bytes = (row.number("bytes_up") ?? 0) + (row.number("bytes_down") ?? 0)
      current[name] = (bytes, now)
      var rate = bytes / max(row.number("age_seconds") ?? 0, 0.001)
      if let before = last[name], now > before.at {
        rate = max(0, bytes - before.bytes) / (now - before.at)
      }
      var row = row
      row.set("bytes_per_second", .double(rate.rounded()))
      return row
    }
    last = current
    return rated
  }
}
