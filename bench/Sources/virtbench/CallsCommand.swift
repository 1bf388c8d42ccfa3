// virtbench calls: how many small calls a second, and how long each takes.
import ArgumentParser
import Ends
import Glibc

struct CallsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calls",
    abstract: "Repeats a small call and prints its rate and the quantiles of its time.")

  @Option(help: "Where to connect: unix:PATH or tcp:HOST:PORT.")
  var uri: Place

  @Option(help: "Calls under way at a time.")
  var depth = 1

  @Option(help: "How long, in seconds.")
  var seconds = 2.0

  @Option(help: "The process whose processor time counts, children included.")
  var pid: pid_t?

  func validate() throws {
    guard (1...4096).contains(depth) else { throw ValidationError("depth must be 1 to 4096") }
    guard seconds > 0, seconds <= 3600 else {
      throw ValidationError("seconds must be above 0 and at most 3600")
    }
  }

  func run() throws {
    let figure = try CallRun(depth: depth, seconds: seconds).measure(uri, process: pid)
    var line =
      "\(Int(figure.perSecond)) calls/s, p50 \(figure.p50.rounded(1)) µs, "
      + "p99 \(figure.p99.rounded(1)) µs"
    if let cpu = figure.cpuPerCall { line += ", \(cpu.rounded(2)) CPU µs per call" }
    print(line)
  }
}
