// Guests that migrate between two hosts; all clients use the brokers.
import Certificates
import Foundation
import Synchronization
import Testing

/// The layout of the daemons and the transport between the hosts.
struct Crossing: Sendable, CustomTestStringConvertible {
  enum Transport: String, CaseIterable, Sendable { case tcp, tls }

  let layout: Lab.Layout
  let transport: Transport
  var testDescription: String { "over \(transport.rawValue.uppercased()) to \(layout)" }

  static let all = Lab.Layout.allCases.flatMap { layout in
    Transport.allCases.map { Crossing(layout: layout, transport: $0) }
  }
  /// Each layout and each transport once.
  static let crossed = [
    Crossing(layout: .mono, transport: .tcp), Crossing(layout: .modular, transport: .tls),
  ]
}

/// Both hosts of a layout, each with a broker of this test.
final class MigrationScene: Sendable {
  let hosts: TwoHosts
  let transport: Crossing.Transport
  private let brokers: Mutex<[Host: BrokerProcess]>
  private let certificates: CertificateDirectory
  private let settings: [String]

  init(_ crossing: Crossing, for purpose: String = "migrations") async throws {
    let certificates = try CertificateDirectory()
    try certificates.serve(.server().with { $0.hosts = Host.allCases.map(\.name) })
    self.certificates = certificates
    transport = crossing.transport
    hosts = try await TwoHosts.shared(crossing.layout, for: purpose)
    // The same keepalive settings in the other direction.
    let (interval, count) = TwoHosts.keepAlive
    settings =
      ["keepalive_interval = \(interval)", "keepalive_count = \(count)"]
      + certificates.settings(port: 16514)
    brokers = Mutex([:])
    for host in Host.allCases { try await startBroker(on: host) }
  }

  func broker(_ host: Host) throws -> BrokerProcess {
    guard let broker = brokers.withLock({ $0[host] }) else {
      throw Trouble("there is no broker on \(host.name)")
    }
    return broker
  }

  /// Starts a broker in place of one that was killed.
  func replaceBroker(on host: Host) async throws {
    _ = try await broker(host).awaitEnd()
    try await startBroker(on: host)
  }

  private func startBroker(on host: Host) async throws {
    let broker = try await hosts.startBroker(on: host, settings: settings)
    brokers.withLock { $0[host] = broker }
  }

  /// Ends the test: the brokers must exit cleanly.
  func end(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    for host in Host.allCases { try await broker(host).stop(sourceLocation: sourceLocation) }
  }

  /// The descriptors of each broker without clients.
  func idleDescriptors() async throws -> [Host: Int] {
    let brokers = brokers.withLock { $0 }
    return try await blocking { brokers.mapValues { settledDescriptorCount(of: $0.pid) } }
  }

  // MARK: What people do

  /// The URI of a host's broker for a client on a third machine.
  static func uri(_ host: Host) -> String { "qemu+tcp://\(host.address)/system" }

  /// Runs virsh on a third machine with a host's broker.
  func virsh(_ host: Host, _ words: String...) async throws -> CommandResult {
    try await Command(hosts.entrance(nil) + ["virsh", "-q", "-c", Self.uri(host)] + words).run()
  }

  /// The same; it must succeed. Returns its output.
  @discardableResult
  func output(_ host: Host, _ words: String...) async throws -> String {
    try await Command(hosts.entrance(nil) + ["virsh", "-q", "-c", Self.uri(host)] + words).output()
  }

  /// Migrates a guest to the other host, at most at `rate` MiB/s.
  func migrate(_ guest: String, from host: Host, rate: Int? = nil) async throws -> CommandResult {
    let destination =
      switch transport {
      case .tcp: Self.uri(host.other)
      case .tls: "qemu+tls://\(host.other.name)/system?pkipath=\(certificates.directory)"
      }
    var command = Command(hosts.entrance(nil) + ["virsh", "-q", "-c", Self.uri(host), "migrate"])
    if let rate { command.arguments += ["--bandwidth", "\(rate)"] }
    // The disk is a file that both hosts see, which libvirt cannot know.
    command.arguments += ["--p2p", "--tunnelled", "--live", "--unsafe", guest, destination]
    command.limit = .seconds(60)
    return try await command.run()
  }

  /// Waits until a part of a guest's memory, but not all of it, has been transferred.
  func awaitMiddle(of guest: String, on host: Host) async throws {
    try await eventually("the migration is in its middle") {
      // MiB; virsh prints three decimals.
      let line = try await self.virsh(host, "domjobinfo", guest).output.split(separator: "\n")
        .first { $0.hasPrefix("Memory processed:") }
      let words = line?.split(separator: " ").suffix(2) ?? []
      guard let amount = words.first.flatMap({ Double($0) }) else { return false }
      return words.last == "MiB" ? amount > 2 : words.last == "GiB"
    }
  }

  // MARK: What there is

  /// Guests of a host, running or not.
  func guests(_ host: Host) async throws -> Set<String> {
    Set(
      try await output(host, "list", "--all", "--name").split(whereSeparator: \.isWhitespace)
        .map(String.init))
  }

  /// Whether a host has a QEMU process of a guest, known to libvirt or not.
  func hasEmulator(of guest: String, on host: Host) async throws -> Bool {
    let first = try await Command(Lab.script, "pid", hosts.lab(host).directory).output()
      .trimmingCharacters(in: .whitespacesAndNewlines)
    let result = try await Command(
      "pgrep", "--ns", first, "--nslist", "pid", "-a", "-f", "^/usr/bin/qemu-system"
    ).run()
    return result.output.contains("guest=\(guest),")
  }

  /// Expects a guest to run on a host, to echo there through the broker, and not to exist on the other host.
  func expect(
    _ guest: String, on host: Host, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    #expect(
      try await output(host, "domstate", guest).hasPrefix("running"), sourceLocation: sourceLocation
    )
    try await echo(guest, on: host)
    try await eventually("nothing of \(guest) is on \(host.other.name)", sourceLocation) {
      let isKnown = try await self.guests(host.other).contains(guest)
      let isThere = try await self.hasEmulator(of: guest, on: host.other)
      return !isKnown && !isThere
    }
  }

  /// Sends bytes to a guest's console from a third machine and expects their echo.
  func echo(_ guest: String, on host: Host, bytes: Int = 4000) async throws {
    try await python(
      "echo.py", [Self.uri(host), "\(bytes)", guest], within: hosts.entrance(nil))
  }

  /// The content of a guest's memory, from the second mebibyte to the last.
  func memory(of guest: String, on host: Host) async throws -> Data {
    let file = "\(hosts.directory)/\(guest).memory"
    defer { try? FileManager.default.removeItem(atPath: file) }
    let bytes = (MigrationTests.memory - 1) << 20
    try await output(
      host, "qemu-monitor-command", guest, "--hmp", "pmemsave 0x100000 \(bytes) \"\(file)\"")
    return try Data(contentsOf: URL(fileURLWithPath: file))
  }

  func destroy(_ guest: String, on host: Host) async throws {
    try await output(host, "destroy", guest)
  }
}

/// Waits until a condition holds. Records an issue that describes it if it never does.
func eventually(
  _ what: String, within limit: Duration = .seconds(30),
  _ sourceLocation: SourceLocation = #_sourceLocation, _ holds: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + limit
  while ContinuousClock.now < deadline {
    if try await holds() { return }
    try await Task.sleep(for: .milliseconds(50))
  }
  Issue.record("not within \(limit): \(what)", sourceLocation: sourceLocation)
}
