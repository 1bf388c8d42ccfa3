// virtbench console: the time from a keystroke to its echo.
import ArgumentParser
import Ends
import Foundation

struct ConsoleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "console",
    abstract: "Types at a guest's console and prints how long the echoes take.",
    discussion: """
      Opens a console, types single letters at fixed moments and waits for their echoes; each time \
      counts from the moment its key was due. With --beside connection another connection to the \
      same URI carries a download and an upload as fast as they go; with --beside same they share \
      the console's connection. Then it is also told how many bytes of other packets the kernel \
      still had to send when a key was pressed (before), and how many arrived between a key and its \
      echo (between); --buffers bounds the part of that which is the kernel's. A real guest must \
      echo what is typed (--domain). Times are in microseconds.

      --netem DELAY,RATE runs all this over a link of that round trip and rate, made of a network \
      namespace and two virtual Ethernet ends. It needs root, ip, tc and, for a delay other than \
      0ms, a kernel with sch_netem. The server must listen on all addresses: it is then reached by \
      that of the link, so tls needs --insecure.

      Examples:

        virtbench console --uri tcp:127.0.0.1:16509 --beside same

        virtbench console --uri tcp:127.0.0.1:16509 --beside connection --netem 20ms,100mbit
      """)

  @OptionGroup var connection: ConnectOptions

  @Option(help: "Where bulk streams run meanwhile: connection (another one) or same.")
  var beside: ConsoleRun.Beside?

  @Option(help: "Keystrokes a second.")
  var rate = 50.0

  @Option(help: "How long, in seconds.")
  var seconds = 5.0

  @Option(help: "The domain whose console it is. virtbench endpoint has any.")
  var domain = "bench"

  @Option(
    help: ArgumentHelp(
      "What the kernel may hold either way on the console's connection.", valueName: "bytes"))
  var buffers: Int32?

  @Option(
    help: ArgumentHelp(
      "Run over a link of this round trip and rate, such as 20ms,100mbit.",
      valueName: "delay,rate"))
  var netem: ShapedLink?

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func validate() throws {
    guard rate >= 0.1, rate <= 10_000 else { throw ValidationError("rate must be 0.1 to 10000") }
    guard seconds > 0, seconds <= 86_400 else {
      throw ValidationError("seconds must be above 0 and at most 86400")
    }
    if let buffers, !(1...(1 << 30)).contains(buffers) {
      throw ValidationError("buffers must be 1 byte to 1 GiB")
    }
    if netem != nil, case .unix = connection.uri {
      throw ValidationError("--netem needs a tcp: or tls: URI")
    }
  }

  func run() throws {
    let place = try connection.place()
    if let netem {
      if let reason = netem.obstacle() {
        print("SKIPPED: console over \(netem): \(reason)")
        return
      }
      let status = try netem.run(place)
      if status != 0 { throw ExitCode(status) }
      return
    }
    let run = ConsoleRun(
      perSecond: rate, seconds: seconds, beside: beside, domain: domain, buffers: buffers)
    let figure = try Progress.during("console:", seconds: seconds) { _ in try run.measure(place) }
    if json {
      return try Outcome(command: "console", uri: place.description, run: run, result: figure)
        .print()
    }
    var table = Table()
    table.add("echo, µs", figure.echo)
    if beside == .same {
      func add(_ name: String, _ sizes: ConsoleRun.Sizes) {
        table.add(name, "\(sizes.p50)", "", "\(sizes.p99)", "", "\(sizes.max)")
      }
      add("bytes before", figure.bytesBefore)
      add("bytes between", figure.bytesBetween)
    }
    table.print()
    if let bulk = figure.bulkGiBPerSecond {
      print("bulk streams meanwhile: \(bulk.rounded(2)) GiB/s")
    }
  }
}
