// virtbench stream: the rate of streams in one direction, and the relay's cost.
import ArgumentParser
import Ends
import Glibc

struct StreamCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stream",
    abstract: "Moves bulk streams and prints GiB/s, and CPU seconds per GiB of a process.",
    discussion: """
      Opens connections, and on each of them streams that all go one way: downloads or uploads of a \
      storage volume, or tunnelled migrations as a source libvirtd sends them. The time counts from \
      the calls that open the streams to the last confirmation. Volume streams work with a real \
      libvirtd (--pool, --volume); migrations and --message for downloads need virtbench endpoint. \
      Streams carry --bytes each, or whatever goes in --duration.

      Example, with four uploads on one TCP connection and the processor time of the broker:

        virtbench stream --uri tcp:127.0.0.1:16509 --kind upload --streams 4 --duration 10 \
      --pid $(pidof virtbrokerd)
      """)

  @OptionGroup var connection: ConnectOptions

  @Option(
    name: [.long, .customLong("direction")], help: "download (or down), upload (or up), migration.")
  var kind: TransferKind = .download

  @Option(help: "Bytes per stream. Default: 1 GiB, if there is no --duration.")
  var bytes: UInt64?

  @Option(help: ArgumentHelp("Seconds after which all streams end.", valueName: "seconds"))
  var duration: Double?

  @Option(
    help: ArgumentHelp(
      """
      Bytes that a packet carries, up to \(Transfer.largestMessage). Default: as libvirt, 262120 \
      for volumes and 65536 for migrations.
      """, valueName: "bytes"))
  var message: Int?

  @Option(help: "Streams at once on each connection.")
  var streams = 1

  @Option(help: "Connections at once, each with a thread of its own.")
  var connections = 1

  @Option(help: "The process whose processor time counts, children included.")
  var pid: pid_t?

  @Option(help: "Storage pool of the volume, where the daemon is a real one.")
  var pool = Volume().pool

  @Option(help: "Name of the volume, where the daemon is a real one.")
  var volume: String?

  @Flag(help: "Compare what arrives with what virtbench endpoint sends.")
  var check = false

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func validate() throws {
    guard (1...1024).contains(streams) else { throw ValidationError("streams must be 1 to 1024") }
    guard (1...1024).contains(connections) else {
      throw ValidationError("connections must be 1 to 1024")
    }
    guard bytes == nil || duration == nil else {
      throw ValidationError("name --bytes or --duration, not both")
    }
    guard bytes ?? 0 <= Transfer.endless else {
      throw ValidationError("bytes must be at most \(Transfer.endless)")
    }
    if let duration, !(duration > 0 && duration <= 86_400) {
      throw ValidationError("duration must be above 0 and at most 86400 seconds")
    }
    if let message, !(1...Transfer.largestMessage).contains(message) {
      throw ValidationError(
        "message must be 1 to \(Transfer.largestMessage), the most a packet of the protocol carries"
      )
    }
    if kind == .download, message != nil, volume != nil {
      throw ValidationError("the daemon that has --volume decides the size of a download's packets")
    }
  }

  func run() throws {
    let place = try connection.place()
    raiseFileLimit()
    let run = StreamRun(
      kind: kind, bytes: bytes ?? (duration == nil ? 1 << 30 : Transfer.endless),
      seconds: duration, streams: streams, connections: connections, message: message)
    let volume = Volume(pool: pool, name: volume ?? Volume().name)
    let figure = try Progress.during("\(kind.rawValue):", seconds: duration) { _ in
      try run.measure(place, process: pid, volume: volume, isChecking: check)
    }
    if json {
      return try Outcome(command: "stream", uri: place.description, run: run, result: figure)
        .print()
    }
    var table = Table()
    table.add("", "GiB/s", "CPU s/GiB", "GiB", "seconds")
    table.add(
      kind.rawValue, figure.gibPerSecond.rounded(2), figure.cpuPerGiB?.rounded(3) ?? "–",
      (Double(figure.bytes) / Double(1 << 30)).rounded(2), figure.seconds.rounded(2))
    table.print()
  }
}
