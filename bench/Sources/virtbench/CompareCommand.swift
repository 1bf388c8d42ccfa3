// virtbench compare: all ways to the same synthetic daemon, measured in turn.
import ArgumentParser
import Dispatch
import Ends
import Foundation

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Measures the broker beside other relays and writes Markdown and JSON.",
    discussion: """
      Every round runs every measurement on every peer before the next round starts, so that \
      whatever disturbs the machine disturbs all alike. Figures are medians of the rounds.
      """)

  @Option(help: "The broker's program.")
  var broker = "../.build/release/virtbrokerd"

  @Option(
    parsing: .upToNextOption,
    help: "Which to measure: \(Peer.allCases.map(\.rawValue).joined(separator: ", ")).")
  var peers: [Peer] = Peer.allCases

  @Option(help: "How often everything is measured.")
  var rounds = 5

  @Option(help: "MiB per stream measurement.")
  var mib: UInt64 = 2048

  @Option(help: "Seconds per call measurement.")
  var seconds = 1.0

  @Option(help: "Where the results go.")
  var results = "results"

  @Option(help: "Name of the result files; the date if not given.")
  var name: String?

  func validate() throws {
    guard rounds > 0, mib > 0, mib <= 1 << 20, seconds > 0 else {
      throw ValidationError("rounds, mib and seconds must be above 0")
    }
  }

  func run() throws {
    let directory = URL(fileURLWithPath: NSTemporaryDirectory())
      .appendingPathComponent("virtbench.\(getpid())")
    let backendDirectory = directory.appendingPathComponent("backend")
    try FileManager.default.createDirectory(at: backendDirectory, withIntermediateDirectories: true)
    let children = Children(directory)
    defer { children.end() }
    children.endOnSignals()

    let backend = backendDirectory.appendingPathComponent("libvirt-sock").path
    let direct = Place.unix(path: backend)
    children.add(
      try .serving(at: direct, "/proc/self/exe", ["endpoint", backend], in: backendDirectory))

    var contestants: [(peer: Peer, place: Place, process: pid_t?)] = []
    var missing: [String] = []
    for peer in peers {
      if peer == .direct {
        contestants.append((peer, direct, nil))
        continue
      }
      guard let program = peer.program(broker: broker) else {
        missing.append(peer.rawValue)
        continue
      }
      let own = directory.appendingPathComponent(peer.rawValue)
      try FileManager.default.createDirectory(at: own, withIntermediateDirectories: true)
      let (child, place) = try peer.start(program, before: backend, in: own)
      children.add(child)
      contestants.append((peer, place, child.pid))
    }
    if !missing.isEmpty {
      note("not installed, so not measured: \(missing.joined(separator: ", "))")
    }

    var table = ResultTable(peers: contestants.map(\.peer))
    for round in 1...rounds {
      for work in Work.all(bytes: mib << 20, seconds: seconds) {
        for (peer, place, process) in contestants {
          for (metric, value) in try work.measure(place, process) {
            table.add(value, of: metric, work, peer)
          }
        }
      }
      note("round \(round) of \(rounds) is done")
    }
    children.end()

    let report = Report(table: table, rounds: rounds, missing: missing)
    let written = try report.write(to: results, name: name)
    print(report.markdown)
    note("written to \(written)")
  }

  private func note(_ line: String) {
    FileHandle.standardError.write(Data("virtbench: \(line)\n".utf8))
  }
}

/// The programs and files of one comparison, which must not outlive it.
final class Children: @unchecked Sendable {
  private let lock = NSLock()
  private var children: [Child] = []
  private var directory: URL?
  private var sources: [any DispatchSourceSignal] = []

  init(_ directory: URL) { self.directory = directory }

  func add(_ child: Child) {
    lock.withLock { children.append(child) }
  }

  /// Ends them in the order they were started, the synthetic daemon first.
  func end() {
    lock.withLock {
      for child in children { child.stop() }
      children = []
      if let directory { try? FileManager.default.removeItem(at: directory) }
      directory = nil
    }
  }

  /// A comparison that is interrupted takes its programs with it.
  func endOnSignals() {
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [unowned self] in
        end()
        exit(128 + number)
      }
      source.resume()
      sources.append(source)
    }
  }
}
