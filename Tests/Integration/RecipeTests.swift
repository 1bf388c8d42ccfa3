// Documents whose commands are executed as written.
import Foundation
import Testing

@Suite("Recipes", Lab.isPossible, .inTurn)
struct RecipeTests {
  @Test("the steps of docs/hosts.md give a client access to another host's guests")
  func hosts() async throws {
    let hosts = try await TwoHosts.shared(.mono, for: "recipe")
    var command = Command(
      Lab.folder + "/lab/recipe", hosts.directory, BrokerProcess.executable, Package.project)
    command.limit = .seconds(240)
    let output = try await command.output()
    #expect(output.contains("guest-of-hostb"), "\(output)")
  }

  @Test("ssh reaches the broker's socket if the URI names it and netcat")
  func ssh() async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    let server = try await SSHServer.start()
    // The client's own ssh options have no known_hosts.
    let program = try Scratch.directory("f") + "/ssh"
    try """
    #!/bin/sh
    exec ssh -i \(server.key) -o UserKnownHostsFile=\(server.knownHosts) "$@"

    """.write(toFile: program, atomically: false, encoding: .utf8)
    chmod(program, 0o755)
    // No daemon listens at the default path, so this reply is the broker's.
    try await virshOutput(
      "qemu+ssh://root@127.0.0.1:\(server.port)/system?proxy=netcat&command=\(program)"
        + "&socket=\(broker.directory)/libvirt-sock", "list", "--all")
    try await broker.stop()
  }
}
