// A private sshd on a port of 127.0.0.1 with its own keys.
import Foundation

/// Accepts only root with one key. Its sessions run inside the command given before sshd, such as a mount namespace.
final class SSHServer: Sendable {
  let port: Int
  let directory: String
  private let child: Child

  /// The accepted private key, and the known_hosts file for the server.
  var key: String { directory + "/key" }
  var knownHosts: String { directory + "/known_hosts" }
  /// Its log so far.
  var log: String { (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? "" }

  /// - Parameter inside: a command that runs its remaining arguments in another namespace.
  static func start(inside: [String] = []) async throws -> SSHServer {
    let directory = try Scratch.directory("ssh")
    for name in ["host", "key"] {
      try await Command(
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", "\(directory)/\(name)"
      ).output()
    }
    let port = try BrokerProcess.freePort()
    let hostKey = try String(contentsOfFile: directory + "/host.pub", encoding: .utf8)
    try "[127.0.0.1]:\(port) \(hostKey)[localhost]:\(port) \(hostKey)".write(
      toFile: directory + "/known_hosts", atomically: false, encoding: .utf8)
    try """
    Port \(port)
    ListenAddress 127.0.0.1
    HostKey \(directory)/host
    AuthorizedKeysFile \(directory)/key.pub
    PermitRootLogin prohibit-password
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    UsePAM no
    StrictModes no
    PidFile none
    MaxStartups 100

    """.write(toFile: directory + "/config", atomically: false, encoding: .utf8)
    // sshd needs an empty directory for its unprivileged process.
    let command =
      inside + [
        "sh", "-c", "mkdir -p /run/sshd && exec \"$@\"", "sshd", "/usr/sbin/sshd", "-D", "-e", "-f",
        directory + "/config",
      ]
    let log = open(directory + "/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(log) }
    let server = SSHServer(
      port: port, directory: directory, child: try Child(command, output: log, errors: log))
    guard eventually({ BrokerProcess.accepts(tcp: port) }) else {
      throw Trouble("sshd did not start: \(server.log)")
    }
    return server
  }

  private init(port: Int, directory: String, child: Child) {
    self.port = port
    self.directory = directory
    self.child = child
  }

  /// A line for a broker's upstream_settings.
  var rule: String { "ssh://127.0.0.1 user=root keyfile=\(key) known_hosts=\(knownHosts)" }
}
