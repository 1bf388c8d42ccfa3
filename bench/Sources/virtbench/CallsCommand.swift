// virtbench calls: the rate and the latency of small calls.
import ArgumentParser
import Ends
import Glibc

struct CallsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calls",
    abstract: "Repeats a small call and prints its rate and the quantiles of its time.",
    discussion: """
      The call is CONNECT_GET_LIB_VERSION, which only the daemon can answer. Without --rate every \
      connection keeps --depth calls under way and sends the next when one is answered: that finds \
      the most a way carries. With --rate calls are sent at fixed moments, and the time of each \
      counts from the moment it was due, even if it could not leave then: so a stall shows in all \
      calls it held up (no coordinated omission). Times are in microseconds.

      Examples, for the most five calls at a time reach, and for latency at 2000 calls a second:

        virtbench calls --uri unix:/run/libvirt/libvirt-sock --depth 5 --seconds 10

        virtbench calls --uri tcp:127.0.0.1:16509 --rate 2000 --seconds 30 --json
      """)

  @OptionGroup var connection: ConnectOptions

  @Option(help: "Calls under way at a time on each connection.")
  var depth: Int?

  @Option(help: "Connections at once, each with a thread of its own.")
  var connections = 1

  @Option(help: "Calls a second, on all connections together.")
  var rate: Double?

  @Option(help: "How long, in seconds.")
  var seconds = 2.0

  @Option(help: "The process whose processor time counts, children included.")
  var pid: pid_t?

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func validate() throws {
    if let depth, !(1...Client.deepest).contains(depth) {
      throw ValidationError("depth must be 1 to \(Client.deepest)")
    }
    guard (1...1024).contains(connections) else {
      throw ValidationError("connections must be 1 to 1024")
    }
    if let rate, !(rate >= 0.1 && rate <= 10_000_000) {
      throw ValidationError("rate must be 0.1 to 10000000 calls a second")
    }
    guard rate == nil || depth == nil else {
      throw ValidationError("name --depth or --rate, not both")
    }
    guard seconds > 0, seconds <= 86_400 else {
      throw ValidationError("seconds must be above 0 and at most 86400")
    }
  }

  func run() throws {
    let place = try connection.place()
    raiseFileLimit()
    let run = CallRun(depth: depth ?? 1, seconds: seconds, connections: connections, rate: rate)
    let figure = try Progress.during("calls:", seconds: seconds) { _ in
      try run.measure(place, process: pid)
    }
    if json {
      return try Outcome(command: "calls", uri: place.description, run: run, result: figure)
        .print()
    }
    var table = Table()
    table.add("calls, µs", figure)
    table.print()
  }
}
