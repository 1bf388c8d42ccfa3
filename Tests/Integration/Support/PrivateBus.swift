// A private system bus with the real polkitd.
import Foundation
import Glibc

/// dbus-daemon and polkitd in a mount namespace with a test's polkit rules. The machine's own bus and policy are not
/// touched.
final class PrivateBus: Sendable {
  let directory: String
  /// The broker's environment.
  var environment: [String: String] { ["DBUS_SYSTEM_BUS_ADDRESS": address] }
  private var address: String { "unix:path=\(directory)/bus" }
  private let bus: Child
  private let polkit: Child?

  /// - Parameter rules: polkit rules in JavaScript, before those of the distribution.
  static func start(rules: String = "", withPolkit: Bool = true) async throws -> PrivateBus {
    let bus = try PrivateBus(rules, withPolkit)
    try await blocking { try bus.awaitReady(withPolkit) }
    return bus
  }

  private init(_ rules: String, _ withPolkit: Bool) throws {
    directory = try Scratch.directory("d")
    let configuration = directory + "/bus.conf"
    try """
    <busconfig>
      <type>system</type>
      <listen>unix:path=\(directory)/bus</listen>
      <policy context="default">
        <allow user="*"/><allow own="*"/><allow send_type="method_call"/>
        <allow send_destination="*"/><allow receive_sender="*"/>
      </policy>
    </busconfig>
    """.write(toFile: configuration, atomically: false, encoding: .utf8)
    try FileManager.default.createDirectory(
      atPath: directory + "/rules.d", withIntermediateDirectories: true)
    try rules.write(
      toFile: directory + "/rules.d/10-test.rules", atomically: false, encoding: .utf8)
    let log = open(directory + "/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(log) }
    bus = try Child(
      ["dbus-daemon", "--config-file=\(configuration)", "--nofork", "--nopidfile"], output: log,
      errors: log)
    // polkitd looks up the processes it checks, so it needs the machine's PID namespace.
    let script = """
      mount --make-rprivate / && mount --bind '\(directory)/rules.d' /etc/polkit-1/rules.d &&
      exec /usr/lib/polkit-1/polkitd --no-debug
      """
    polkit =
      withPolkit
      ? try Child(
        ["unshare", "--mount", "sh", "-c", script], output: log, errors: log,
        environment: ["DBUS_SYSTEM_BUS_ADDRESS": "unix:path=\(directory)/bus"]) : nil
  }

  private func awaitReady(_ withPolkit: Bool) throws {
    var command = Command(
      "dbus-send", "--bus=\(address)", "--dest=org.freedesktop.DBus", "--print-reply", "/",
      "org.freedesktop.DBus.NameHasOwner",
      "string:org.freedesktop." + (withPolkit ? "PolicyKit1" : "DBus"))
    command.limit = .seconds(10)
    let isReady = try eventually { try command.runHere().output.contains("boolean true") }
    guard isReady else {
      let log = (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? ""
      throw Trouble("no polkitd on a private bus: \(log)")
    }
  }

  /// Ends the bus, and with it polkitd's connection.
  func end() {
    polkit?.end()
    bus.end()
  }

  deinit { end() }

  /// Why suites are skipped: why polkitd cannot be started. nil if it can.
  static let whyNot: String? = {
    guard getuid() == 0 else { return "a private bus for polkit needs root" }
    for program in ["/usr/lib/polkit-1/polkitd", "/usr/bin/dbus-daemon"]
    where access(program, X_OK) != 0 {
      return "there is no \(program)"
    }
    return nil
  }()
}
