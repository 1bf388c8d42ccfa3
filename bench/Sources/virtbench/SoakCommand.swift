// virtbench soak: all loads together for some time, and the use of memory meanwhile.
import ArgumentParser
import Ends
import Foundation
import Gauges

struct SoakCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "soak",
    abstract: "Works a relay with everything at once, and watches its memory.",
    discussion: """
      Downloads, uploads, migrations, calls, consoles beside bulk streams and connections that come and \
      go run at once and again and again, each on connections of its own. The resident memory of --pid \
      is read every second: the first quarter of the time is for warming up, and what is compared is the \
      median of the second quarter with that of the last.

      Example:

        virtbench soak --uri tcp:127.0.0.1:16509 --pid $(pidof virtbrokerd) --seconds 300
      """)

  @OptionGroup var connection: ConnectOptions

  @Option(help: "How long, in seconds.")
  var seconds = 300.0

  @Option(help: "The process whose memory is watched, children included.")
  var pid: pid_t

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func validate() throws {
    guard seconds >= 8, seconds <= 86_400 else {
      throw ValidationError("seconds must be 8 to 86400")
    }
  }

  func run() throws {
    let place = try connection.place()
    let figure = try Progress.during("soaking:", seconds: seconds) { _ in
      try SoakRun(seconds: seconds).measure(place, process: pid)
    }
    if json {
      return try Outcome(
        command: "soak", uri: place.description, run: SoakRun(seconds: seconds), result: figure
      ).print()
    }
    var table = Table()
    for (name, count) in figure.rounds.sorted(by: { $0.key < $1.key }) {
      table.add(name, "\(count) times")
    }
    table.print()
    func kibibytes(_ bytes: Int) -> String { "\(bytes >> 10) KiB" }
    print(
      "resident: \(kibibytes(figure.first)) before, median \(kibibytes(figure.early)) in the second "
        + "quarter, \(kibibytes(figure.late)) in the last, at most \(kibibytes(figure.most))")
  }
}

/// A mixed load for a given time.
struct SoakRun: Codable, Equatable {
  var seconds: Double

  struct Figure: Codable {
    /// How often each kind of load ran to its end.
    var rounds: [String: Int]
    /// Resident bytes before the load, the medians of the second and of the last quarter, and the maximum.
    var first, early, late, most: Int
    /// One reading per second.
    var resident: [Int]
  }

  func measure(_ place: Place, process: pid_t) throws -> Figure {
    let resident = { () throws(EndFailure) -> Int in
      guard let memory = Memory(of: process) else {
        throw EndFailure("the memory of process \(process) cannot be read")
      }
      return memory.resident
    }
    let loads: [(name: String, once: @Sendable () throws -> Void)] = [
      ("downloads", { try stream(.download, place) }), ("uploads", { try stream(.upload, place) }),
      ("migrations", { try stream(.migration, place) }),
      ("calls", { _ = try CallRun(depth: 4, seconds: 1).measure(place, process: nil) }),
      ("consoles", { _ = try ConsoleRun(seconds: 1, beside: .same).measure(place) }),
      (
        "connections",
        { _ = try ConnectionsRun(count: 100).measure(place, process: nil) { _ in } }
      ),
    ]
    let first = try resident()
    let end = now() + UInt64(seconds * 1e9)
    let workers = try loads.map { load in
      try Worker<Int> {
        var rounds = 0
        while now() < end {
          try load.once()
          rounds += 1
        }
        return rounds
      }
    }
    var readings: [Int] = []
    while now() < end {
      sleep(1)
      readings.append(try resident())
    }
    var rounds: [String: Int] = [:]
    for (load, worker) in zip(loads, workers) { rounds[load.name] = try worker.value() }
    func median(_ part: ArraySlice<Int>) -> Int {
      part.isEmpty ? 0 : part.sorted()[part.count / 2]
    }
    let quarter = readings.count / 4
    return Figure(
      rounds: rounds, first: first, early: median(readings[quarter..<2 * quarter]),
      late: median(readings[(readings.count - quarter)...]), most: readings.max() ?? first,
      resident: readings)
  }

  private func stream(_ kind: TransferKind, _ place: Place) throws {
    _ = try StreamRun(kind: kind, bytes: 64 << 20, streams: 2).measure(place, process: nil)
  }
}
