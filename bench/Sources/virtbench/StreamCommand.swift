// virtbench stream: how fast streams go one way, and what that costs a relay.
import ArgumentParser
import Ends
import Glibc

struct StreamCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stream",
    abstract: "Moves volume streams and prints GiB/s, and CPU seconds per GiB of a process.")

  @Option(help: "Where to connect: unix:PATH or tcp:HOST:PORT.")
  var uri: Place

  @Option(help: "down or up.")
  var direction: StreamRun.Direction = .down

  @Option(help: "Bytes per stream.")
  var bytes: UInt64 = 1 << 30

  @Option(help: "Streams at once on the one connection.")
  var streams = 1

  @Option(help: "The process whose processor time counts, children included.")
  var pid: pid_t?

  @Option(help: "Storage pool of the volume, where the daemon is a real one.")
  var pool = Volume().pool

  @Option(help: "Name of the volume, where the daemon is a real one.")
  var volume = Volume().name

  @Flag(help: "Compare what arrives with what virtbench sends.")
  var check = false

  func validate() throws {
    guard (1...1024).contains(streams) else { throw ValidationError("streams must be 1 to 1024") }
  }

  func run() throws {
    let run = StreamRun(direction: direction, bytes: bytes, streams: streams)
    let figure = try run.measure(
      uri, process: pid, volume: Volume(pool: pool, name: volume), isChecking: check)
    var line = "\(figure.gibPerSecond.rounded(2)) GiB/s"
    if let cpu = figure.cpuPerGiB { line += ", \(cpu.rounded(3)) CPU s/GiB" }
    print(line)
  }
}
