// virtbench connections: how fast connections open, and what idle connections cost.
import ArgumentParser
import Ends
import Gauges
import Glibc

struct ConnectionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connections",
    abstract: "Opens many connections, holds them, and prints what that costs.",
    discussion: """
      A connection counts as open when its first call is answered: with TLS that includes the \
      handshake. While all are held, the memory of --pid is compared with what it was before, and \
      with --calls a small call is measured on one more connection, before and while they are held: \
      idle connections should not slow it down. On 127.0.0.1 connections come from several source \
      addresses, since one has too few ports. Every connection is an open file here, and one or two \
      in what is measured: mind its limits (and max_clients), too.

      Example:

        virtbench connections --uri tcp:127.0.0.1:16509 --hold 5000 --calls --pid $(pidof virtbrokerd)

      With --rate, connections come and go instead: each is due at its own time, makes one call, and \
      closes. The time of an opening counts from when it was due.

        virtbench connections --uri tcp:127.0.0.1:16509 --rate 1000 --seconds 60
      """)

  @OptionGroup var connection: ConnectOptions

  @Option(help: "Connections to hold.")
  var hold = 1000

  @Option(help: "Connections that are being opened at a time. Default: 1, with --rate 16.")
  var atOnce: Int?

  @Option(help: "Connections that come and go in a second, for --seconds; none is held.")
  var rate: Double?

  @Flag(help: "Also measure calls on another connection, before and while they are held.")
  var calls = false

  @Option(help: "How long those calls are measured, or connections come and go, in seconds.")
  var seconds = 2.0

  @Option(help: "The process whose memory and processor time count, children included.")
  var pid: pid_t?

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func validate() throws {
    guard hold > 0, hold <= 1_000_000 else { throw ValidationError("hold must be 1 to 1000000") }
    if let rate, !(rate > 0 && rate <= 100_000) {
      throw ValidationError("rate must be above 0 and at most 100000")
    }
    guard rate == nil || !calls else { throw ValidationError("--calls goes with --hold") }
    guard (1...256).contains(atOnce ?? 1) else { throw ValidationError("at-once must be 1 to 256") }
    guard seconds > 0, seconds <= 3600 else {
      throw ValidationError("seconds must be above 0 and at most 3600")
    }
  }

  func run() throws {
    let place = try connection.place()
    if let rate { return try comeAndGo(place, rate) }
    let run = ConnectionsRun(
      count: hold, atOnce: min(atOnce ?? 1, hold), callSeconds: calls ? seconds : nil)
    let figure = try Progress.during("connections:", seconds: nil) { progress in
      try run.measure(place, process: pid) { progress.say("connections: \($0) of \(hold)") }
    }
    if json {
      return try Outcome(command: "connections", uri: place.description, run: run, result: figure)
        .print()
    }
    var table = Table()
    table.add("opening, µs", figure.opening)
    table.print()
    print("\(hold) connections, \(figure.perSecond.rounded(0)) opened a second")
    if let cpu = figure.cpuPerOpening { print("processor time per opening: \(cpu.rounded(1)) µs") }
    if let resident = figure.residentPerConnection,
      let proportional = figure.proportionalPerConnection
    {
      print(
        "memory per idle connection: \((resident / 1024).rounded(2)) KiB resident, "
          + "\((proportional / 1024).rounded(2)) KiB proportional")
    }
    guard let before = figure.callsBefore, let held = figure.callsWhileHeld else { return }
    var calls = Table()
    calls.add("before, µs", before)
    calls.add("while held, µs", held)
    calls.print()
  }

  private func comeAndGo(_ place: Place, _ rate: Double) throws {
    let run = OpeningRun(perSecond: rate, seconds: seconds, atOnce: atOnce ?? 16)
    let figure = try Progress.during("connections:", seconds: seconds) { _ in
      try run.measure(place, process: pid)
    }
    if json {
      return try Outcome(command: "connections", uri: place.description, run: run, result: figure)
        .print()
    }
    var table = Table()
    table.add("opening, µs", figure.opening)
    table.print()
    print("\(figure.opening.count) connections, \(figure.perSecond.rounded(0)) opened a second")
    if let cpu = figure.cpuPerOpening {
      print("processor time per connection: \(cpu.rounded(1)) µs")
    }
  }
}
