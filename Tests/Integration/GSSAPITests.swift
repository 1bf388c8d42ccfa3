// GSSAPI over plain TCP, with a Kerberos realm of its own: the mechanism with encryption.
import Foundation
import Testing

@Suite(
  "GSSAPI", Lab.isPossible,
  .enabled(if: KerberosRealm.whyNot == nil, "SKIPPED: \(KerberosRealm.whyNot ?? "")"), .inTurn)
struct GSSAPITests {
  private func virsh(
    _ environment: [String: String], _ broker: BrokerProcess, _ arguments: String...
  ) async throws -> CommandResult {
    // By host name: the ticket is for the service of that host.
    var command = Command(
      ["virsh", "-q", "-c", "qemu+tcp://localhost:\(broker.port)/system"] + arguments)
    command.environment = environment
    return try await command.run()
  }

  @Test("a client with a ticket is admitted and encrypts; a client without one is refused")
  func ticket() async throws {
    let lab = try await Lab.shared(.mono)
    let realm = try await KerberosRealm.start()
    let broker = try await BrokerProcess.start(
      backends: lab.sockets,
      settings: [
        "auth_tcp = \"sasl\"", "tcp_min_ssf = 128",
        "sasl_allowed_username_list = [ \"fred\", \"*/admin\" ]",
      ],
      environment: realm.environment)
    let refused = try await virsh(realm.clientEnvironment, broker, "uri")
    #expect(refused.status == 1, "there is no ticket yet")

    try await realm.login()
    let result = try await virsh(realm.clientEnvironment, broker, "uri")
    #expect(result.status == 0, "\(result.errors) \(broker.log)")
    #expect(eventually { broker.logs("VB-AUTH-004", "'fred' by GSSAPI, protection strength 256") })

    let volumes = try await lab.pool("kerberos")
    let scratch = try Scratch.directory("volumes")
    try await Command("sh", "-c", "head -c 3000001 /dev/urandom > '\(scratch)/there'").output()
    for arguments in [
      ["vol-create-as", "kerberos", "v", "3000001b"],
      ["vol-upload", "v", scratch + "/there", "--pool", "kerberos"],
      ["vol-download", "v", scratch + "/back", "--pool", "kerberos"],
    ] {
      var command = Command(
        ["virsh", "-q", "-c", "qemu+tcp://localhost:\(broker.port)/system"] + arguments)
      command.environment = realm.clientEnvironment
      try await command.output()
    }
    try await Command("cmp", scratch + "/there", volumes + "/v").output()
    try await Command("cmp", scratch + "/there", scratch + "/back").output()
    try await broker.stop()
    withExtendedLifetime(realm) {}
  }
}
