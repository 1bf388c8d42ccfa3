// Reports from files, and one report from several.
import Ends
import Foundation

extension Report {
  /// Reads the JSON of a report.
  init(file path: String) throws {
    struct Document: Decodable {
      let date: String
      let seconds: Double
      let machine: Machine
      let results: Results
    }
    let document: Document
    do {
      document = try JSONDecoder().decode(
        Document.self, from: try Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      throw EndFailure("\(path) is no JSON of virtbench compare: \(error)")
    }
    guard let date = Self.days.date(from: document.date) else {
      throw EndFailure("\(path) has no date")
    }
    self.init(
      results: document.results, machine: document.machine,
      name: URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent,
      seconds: document.seconds, date: date)
  }

  /// One report with the runs of all: of one measurement, the rounds of each part follow those of the part before. The
  /// machine's load is that of the busiest part, and the date that of the last.
  init(merging parts: [Report], name: String) throws {
    guard let first = parts.first else { throw EndFailure("there is nothing to merge") }
    var (results, machine) = (first.results, first.machine)
    var (seconds, date) = (first.seconds, first.date)
    for part in parts.dropFirst() {
      let other = part.machine
      guard
        (other.processor, other.cores, other.kernel)
          == (machine.processor, machine.cores, machine.kernel)
      else { throw EndFailure("\(part.name) comes from another machine than \(first.name)") }
      for version in other.versions {
        if let known = machine.versions.first(where: { $0.program == version.program }) {
          guard known == version else {
            throw EndFailure(
              "\(part.name) has \(version.program) \(version.version), not \(known.version)")
          }
        } else {
          machine.versions.append(version)
        }
      }
      machine.load = max(machine.load, other.load)
      try results.add(part.results, from: part.name)
      seconds += part.seconds
      date = max(date, part.date)
    }
    results.arrange()
    self.init(results: results, machine: machine, name: name, seconds: seconds, date: date)
  }
}

extension Results {
  /// Adds the runs of another comparison.
  fileprivate mutating func add(_ other: Results, from name: String) throws {
    guard other.baseline == baseline else {
      throw EndFailure("\(name) has the baseline \(other.baseline), not \(baseline)")
    }
    guard other.isPinned == isPinned else {
      throw EndFailure("\(name) was measured with the programs placed in another way")
    }
    for peer in other.peers where !peers.contains(where: { $0.name == peer.name }) {
      peers.append(peer)
    }
    for kind in other.kinds where !kinds.contains(where: { $0.title == kind.title }) {
      kinds.append(kind)
    }
    var past: [String: Int] = [:]
    for run in runs { past[run.measurement] = max(past[run.measurement] ?? 0, run.round) }
    for var run in other.runs {
      run.round += past[run.measurement] ?? 0
      rounds = max(rounds, run.round)
      runs.append(run)
    }
    for skip in other.skips where !skips.contains(skip) { skips.append(skip) }
    // The numbers of rounds differ anyway; a warning about a single round does not hold if another part has more.
    shortened = nil
  }

  /// Brings peers and measurements into their usual order, and forgets skips of what another part measured.
  fileprivate mutating func arrange() {
    let known = Peer.allCases.map(\.rawValue)
    func place(_ peer: PeerNote) -> Int { known.firstIndex(of: peer.name) ?? known.count }
    peers = peers.enumerated().sorted {
      (place($0.element), $0.offset) < (place($1.element), $1.offset)
    }.map(\.element)
    let names = Loads.names(
      Loads.all(Amounts(streamBytes: 1, callSeconds: 1, clientBytes: 1)))
    func place(_ kind: Kind) -> Int { names.firstIndex(of: kind.name) ?? names.count }
    kinds = kinds.enumerated().sorted {
      (place($0.element), $0.offset) < (place($1.element), $1.offset)
    }.map(\.element)
    skips = skips.filter { skip in
      !kinds.contains { kind in
        (skip.measurement.map { $0 == kind.title } ?? (skip.backend == kind.backend))
          && measured(in: kind).contains(skip.peer)
      }
    }
  }
}
