// virtbench compare: measures all ways to the same daemon in turn.
import ArgumentParser
import Ends
import Foundation
import Gauges

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Measures the broker beside other relays; writes Markdown, plots and JSON.",
    discussion: """
      Every round runs every measurement on every peer before the next round starts, so that \
      whatever disturbs the machine disturbs all alike. Figures are medians of the rounds; ratios \
      are taken within each round, and their median is reported. A peer that cannot run is \
      skipped, and the report says why.

      Peers: \(Peer.allCases.map(\.rawValue).joined(separator: ", ")), and any given with --peer.

      Measurements: \(Loads.names(Self.every).joined(separator: ", ")). The virsh ones run \
      in front of a private, real libvirtd (needs root), the others in front of a synthetic daemon. \
      Only if named: \(Loads.names(Self.every.filter(\.isExtra)).joined(separator: ", ")).
      """)

  private static let every = Loads.all(
    Amounts(streamBytes: 1 << 30, callSeconds: 1, clientBytes: 512 << 20))

  @Option(
    help: """
      What to measure, with commas between. If not given: everything but what takes long, which "all" includes.
      """)
  var measure: Words?

  @Option(help: "The peers to start, with commas between; all if not given.")
  var peers: Words?

  @Option(
    help: ArgumentHelp(
      "An endpoint that already serves, and the process whose CPU time counts; may be repeated.",
      valueName: "NAME=URI[,pid=N]"))
  var peer: [PeerArgument] = []

  @Option(help: "The peer that ratios refer to.")
  var baseline = Peer.limit.rawValue

  @Option(help: "How often everything is measured.")
  var rounds = 7

  @Option(
    help: """
      Begin no round that would end later than so many minutes after the start. The first is measured in any \
      case; a warning says when there was no time for two.
      """)
  var minutes: Double?

  @Option(help: "MiB per stream measurement.")
  var mib: UInt64 = 1024

  @Option(help: "Seconds per call measurement.")
  var seconds = 0.5

  @Option(help: "Seconds in which connections come and go in the measurement opening.")
  var openingSeconds = 10.0

  @Option(help: "MiB of the volume that virsh moves.")
  var clientMib = 256

  @Flag(
    inversion: .prefixedNo,
    help: "Keep relays on one processor and the ends on another, where there are two.")
  var pin = true

  @Option(help: "The broker's program.")
  var broker = "../.build/release/virtbrokerd"

  @Option(help: "virtproxyd's program; looked for where programs are if not given.")
  var virtproxyd: String?

  @Option(
    help: """
      The directory of virtproxyd's libvirt.so.0; if not given, the program's own directory or the lib directory beside \
      it, otherwise the system's.
      """)
  var virtproxydLibraryPath: String?

  @Option(help: "The script that starts a private libvirtd.")
  var lab = "../Tests/Integration/lab/lab"

  @Option(help: "Directory of the results.")
  var results = "results.local"

  @Option(help: "The results are called DATE-NAME.")
  var name = "compare"

  private var programs: Peer.Programs {
    Peer.Programs(
      broker: broker, virtproxyd: virtproxyd, virtproxydLibraries: virtproxydLibraryPath)
  }

  private var amounts: Amounts {
    Amounts(
      streamBytes: mib << 20, callSeconds: seconds, clientBytes: clientMib << 20,
      openingSeconds: openingSeconds)
  }

  func measurements() throws -> [any Load] {
    let all = Loads.all(amounts)
    guard let measure else { return all.filter { !$0.isExtra } }
    if measure.words == ["all"] { return all }
    let names = try measure.chosen(from: Loads.names(all), option: "--measure")
    return all.filter { names.contains($0.name) }
  }

  private func started() throws -> [Peer] {
    guard let peers else { return Peer.allCases }
    return try peers.chosen(from: Peer.allCases.map(\.rawValue), option: "--peers")
      .compactMap(Peer.init(rawValue:))
  }

  func validate() throws {
    guard (1...1000).contains(rounds) else { throw ValidationError("--rounds must be 1 to 1000") }
    guard (1...1 << 20).contains(mib) else { throw ValidationError("--mib must be 1 to 1048576") }
    guard seconds > 0, seconds <= 3600 else {
      throw ValidationError("--seconds must be above 0 and at most 3600")
    }
    guard openingSeconds > 0, openingSeconds <= 3600 else {
      throw ValidationError("--opening-seconds must be above 0 and at most 3600")
    }
    guard (1...1 << 16).contains(clientMib) else {
      throw ValidationError("--client-mib must be 1 to 65536")
    }
    if let minutes, !(minutes > 0 && minutes < 100_000) {
      throw ValidationError("--minutes must be above 0")
    }
    if let path = virtproxydLibraryPath,
      !FileManager.default.fileExists(atPath: "\(path)/libvirt.so.0")
    {
      throw ValidationError("--virtproxyd-library-path: there is no \(path)/libvirt.so.0")
    }
    guard PeerArgument.isName(name) else {
      throw ValidationError("--name may have letters, digits, dots, dashes and underscores")
    }
    _ = try measurements()
    let names = try started().map(\.rawValue) + peer.map(\.name)
    if let twice = peer.map(\.name).first(where: { name in
      Peer(rawValue: name) != nil || peer.filter { $0.name == name }.count > 1
    }) {
      throw ValidationError("--peer \(twice): there is another peer of that name")
    }
    guard names.contains(baseline) else {
      throw ValidationError(
        "--baseline \(baseline) is not among the peers \(names.joined(separator: ", "))")
    }
  }

  func run() throws {
    let beginning = now()
    // For this process and those it starts.
    raiseFileLimit()
    let machine = Machine(programs)
    let directory = URL(fileURLWithPath: NSTemporaryDirectory())
      .appendingPathComponent("virtbench.\(getpid())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let children = Children(directory)
    defer { children.end() }
    children.endOnSignals()

    // Without pinning, the kernel moves relay and ends to other processors between rounds, and the figures of one
    // program vary by a factor of two.
    let isPinned = pin && Processors.keep(getpid(), on: 0)
    let measurements = try measurements()
    let started = try started()
    var results = Results(
      peers: started.map { .init(name: $0.rawValue, explanation: $0.explanation) }
        + peer.map { .init(name: $0.name, explanation: "given with --peer: \($0.place)") },
      kinds: measurements.map(Kind.init), baseline: baseline)

    var subjects: [Backend: [Subject]] = [:]
    for backend in Backend.allCases where measurements.contains(where: { $0.backend == backend }) {
      do {
        let scene = try scene(backend, directory, children)
        for peer in started where peer.isFor(backend) {
          do {
            let (subject, child) = try peer.start(programs, in: scene)
            if let child {
              children.add(child)
              if isPinned, !Processors.keep(child.pid, on: 1) {
                throw EndFailure("it cannot be kept on processor 1")
              }
            }
            subjects[backend, default: []].append(subject)
          } catch {
            children.holdIfInterrupted()
            skip(peer.rawValue, backend, "\(error)", &results)
          }
        }
      } catch {
        children.holdIfInterrupted()
        for peer in started where peer.isFor(backend) {
          skip(peer.rawValue, backend, "no \(backend.rawValue) backend: \(error)", &results)
        }
      }
    }
    if measurements.allSatisfy({ $0.backend != .libvirtd }), started.contains(.libvirtdTCP) {
      skip(
        Peer.libvirtdTCP.rawValue, .libvirtd, "only the virsh measurements have a real libvirtd",
        &results)
    }
    add(peer, to: &subjects, &results, measurements)
    guard subjects.values.contains(where: { !$0.isEmpty }) else {
      throw EndFailure("no peer can be measured")
    }

    Comparison(
      measurements: measurements, subjects: subjects, rounds: rounds,
      budget: minutes.map { $0 * 60 }, beginning: beginning,
      note: {
        children.holdIfInterrupted()
        note($0)
      }
    ).run(into: &results)
    children.holdIfInterrupted()
    children.end()

    results.isPinned = isPinned
    let report = Report(
      results: results, machine: machine, name: name,
      seconds: Double(now() - beginning) / 1e9)
    let written = try report.write(to: self.results)
    print(report.markdown)
    note("written to \(written)")
  }

  /// The daemon in front of which peers are started.
  private func scene(_ backend: Backend, _ directory: URL, _ children: Children) throws -> Scene {
    let own = directory.appendingPathComponent(backend.rawValue)
    let sockets = own.appendingPathComponent("backend")
    try FileManager.default.createDirectory(at: sockets, withIntermediateDirectories: true)
    switch backend {
    case .synthetic, .tls:
      let socket = sockets.appendingPathComponent("libvirt-sock").path
      children.add(
        try .serving(
          at: .unix(path: socket), "/proc/self/exe", ["endpoint", socket], in: sockets))
      var scene = Scene(backend: backend, socket: socket, lab: nil, directory: own)
      if backend == .tls {
        scene.certificates = try BenchCertificates(in: own.appendingPathComponent("pki"))
        let welcoming = sockets.appendingPathComponent("welcome-sock").path
        children.add(
          try Child(
            "/proc/self/exe", ["endpoint", "--welcome", welcoming],
            log: sockets.appendingPathComponent("welcome-output").path))
        scene.welcomingSocket = welcoming
      }
      return scene
    case .libvirtd:
      note("starting a private libvirtd")
      let lab = try Lab(script: lab, directory: sockets, volumeBytes: amounts.clientBytes)
      children.add(lab)
      return Scene(backend: backend, socket: lab.socket, lab: lab, directory: own)
    }
  }

  /// Adds peers that the user started: the daemon behind them may not have virsh's volumes.
  private func add(
    _ given: [PeerArgument], to subjects: inout [Backend: [Subject]], _ results: inout Results,
    _ measurements: [any Load]
  ) {
    for peer in given {
      if let process = peer.process, CPUClock(of: process) == nil {
        skip(peer.name, nil, "there is no process \(process)", &results)
        continue
      }
      do {
        try Client(to: peer.place).close()
      } catch {
        skip(peer.name, nil, "\(error)", &results)
        continue
      }
      if measurements.contains(where: { $0.backend == .tls }) {
        skip(peer.name, .tls, "its certificates are not known", &results)
      }
      if measurements.contains(where: { $0.backend == .synthetic }) {
        subjects[.synthetic, default: []].append(
          Subject(peer: peer.name, place: peer.place, process: peer.process))
      }
      if measurements.contains(where: { $0.backend == .libvirtd }) {
        skip(peer.name, .libvirtd, "it does not stand before this libvirtd", &results)
      }
    }
  }

  private func skip(
    _ peer: String, _ backend: Backend?, _ reason: String, _ results: inout Results
  ) {
    results.skips.append(Skip(peer: peer, measurement: nil, backend: backend, reason: reason))
    note("SKIPPED: \(peer)\(backend.map { " before the \($0.rawValue) backend" } ?? ""): \(reason)")
  }

  private func note(_ line: String) {
    FileHandle.standardError.write(Data("virtbench: \(line)\n".utf8))
  }
}
