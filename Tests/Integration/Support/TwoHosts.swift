// Two libvirt hosts and the link between them: lab/hosts, started once for each layout and purpose.
import Foundation
import Testing

/// One of the two hosts.
enum Host: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case a
  case b

  var name: String { "host\(rawValue)" }
  var address: String { self == .a ? "10.77.0.1" : "10.77.0.2" }
  var other: Host { self == .a ? .b : .a }
  var testDescription: String { name }
}

/// Both hosts, running. Suites share them; they end with the test process.
final class TwoHosts: Sendable {
  /// The interval in seconds and the count of unanswered PINGs of keepalive between the hosts' libvirtd during a
  /// migration.
  static let keepAlive = (interval: 2, count: 3)

  let layout: Lab.Layout
  let directory: String
  private let labs: [Host: Lab]
  /// Commands that run their arguments in a host's network and under its name, or (nil) on the link.
  private let entrances: [Host?: [String]]
  private let watcher: Watcher
  private static let script = Lab.folder + "/lab/hosts"

  /// The hosts of a layout; the first call starts them. Another purpose is another pair, because the brokers of two
  /// suites would need the same ports.
  static func shared(_ layout: Lab.Layout, for purpose: String) async throws -> TwoHosts {
    try await Pairs.all.pair(layout, purpose)
  }

  fileprivate init(_ layout: Lab.Layout, _ number: Int) throws {
    self.layout = layout
    directory = "/tmp/vb\(getpid())-hosts\(number)"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let (interval, count) = Self.keepAlive
    try "keepalive_interval = \(interval)\nkeepalive_count = \(count)\n"
      .write(toFile: directory + "/qemu.conf", atomically: false, encoding: .utf8)
    watcher = try Watcher([Self.script, "hold", directory, layout.rawValue])
    guard Pipe.read(watcher.output).starts(with: "ready".utf8) else {
      throw Trouble("the two \(layout) hosts did not start; what they said is above")
    }
    var (labs, entrances) = ([Host: Lab](), [Host?: [String]]())
    for host in Host.allCases {
      labs[host] = Lab(layout, runningIn: "\(directory)/\(host.rawValue)")
      entrances[host] = try Self.entrance("\(directory)/\(host.rawValue).pid")
    }
    entrances[nil] = try Self.entrance(directory + "/wire.pid")
    (self.labs, self.entrances) = (labs, entrances)
  }

  private static func entrance(_ file: String) throws -> [String] {
    let text = try String(contentsOfFile: file, encoding: .utf8)
    guard let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
      throw Trouble("\(file) has no process number: \(text)")
    }
    return ["nsenter", "--net=/proc/\(pid)/ns/net", "--uts=/proc/\(pid)/ns/uts"]
  }

  func lab(_ host: Host) throws -> Lab {
    guard let lab = labs[host] else { throw Trouble("there is no \(host.name)") }
    return lab
  }

  func entrance(_ host: Host?) -> [String] { entrances[host] ?? [] }

  /// A broker on a host, in front of its daemons, reachable from other machines.
  func startBroker(on host: Host, settings: [String]) async throws -> BrokerProcess {
    try await BrokerProcess.start(
      backends: lab(host).sockets,
      settings: ["listen_addr = \"\(host.address)\"", "tcp_port = \"16509\""] + settings,
      within: entrance(host))
  }

  /// Drops every packet to or from a host, without an error, while `body` runs.
  func whileCut<Value>(_ host: Host, _ body: () async throws -> Value) async throws -> Value {
    try await tell("cut", host)
    do {
      let value = try await body()
      try await tell("heal", host)
      return value
    } catch {
      try await tell("heal", host)
      throw error
    }
  }

  private func tell(_ word: String, _ host: Host) async throws {
    try await Command(Self.script, word, directory, host.rawValue).output()
  }
}

/// All pairs of hosts of the test process.
private actor Pairs {
  static let all = Pairs()
  private var pairs: [String: Task<TwoHosts, any Error>] = [:]

  func pair(_ layout: Lab.Layout, _ purpose: String) async throws -> TwoHosts {
    let key = "\(layout) \(purpose)"
    let number = pairs.count
    let task = pairs[key] ?? Task { try await blocking { try TwoHosts(layout, number) } }
    pairs[key] = task
    return try await task.value
  }
}
