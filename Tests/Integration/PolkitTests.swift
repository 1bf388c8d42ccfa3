// polkit on the UNIX sockets: the real polkitd decides, and the loop never waits for it.
import Foundation
import Streams
import Testing

@Suite(
  "polkit", Lab.isPossible,
  .enabled(if: PrivateBus.whyNot == nil, "SKIPPED: \(PrivateBus.whyNot ?? "")"), .inTurn)
struct PolkitTests {
  private func broker(_ environment: [String: String], settings: [String] = []) async throws
    -> BrokerProcess
  {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(
      backends: lab.sockets,
      settings: ["auth_unix_rw = \"polkit\"", "auth_unix_ro = \"polkit\""] + settings,
      environment: environment)
    return broker
  }

  /// Runs virsh as another user than root.
  private func virsh(as user: Int, _ broker: BrokerProcess, readOnly: Bool = false) async throws
    -> CommandResult
  {
    let home = try Scratch.directory("h")
    try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: home)
    var command = Command(
      "setpriv", "--reuid", "\(user)", "--regid", "\(user)", "--clear-groups", "virsh", "-q", "-c",
      broker.unixURI(readOnly: readOnly), "uri")
    command.environment["HOME"] = home
    return try await command.run()
  }

  private static let rules = """
    polkit.addRule(function(action, subject) {
      if (action.id == "org.libvirt.unix.manage" && subject.user == "daemon")
        return polkit.Result.YES;
      if (action.id == "org.libvirt.unix.manage" && subject.user == "bin")
        return polkit.Result.NO;
      if (action.id == "org.libvirt.unix.monitor" && subject.user == "bin")
        return polkit.Result.NO;
    });
    """

  @Test("polkit's rules decide who may manage and who may monitor; root needs no authorization")
  func rules() async throws {
    let bus = try await PrivateBus.start(rules: Self.rules)
    let broker = try await broker(bus.environment)
    #expect(try await virshOutput(broker.unixURI(), "uri").hasPrefix("qemu"))

    let (daemon, bin, nobody) = (1, 2, 65_534)
    let granted = try await virsh(as: daemon, broker)
    #expect(granted.status == 0, "\(granted.errors)")
    let denied = try await virsh(as: bin, broker)
    #expect(denied.status == 1)
    #expect(denied.errors.contains("authentication failed: access denied by policy"))
    #expect(try await virsh(as: bin, broker, readOnly: true).status == 1)
    let unasked = try await virsh(as: nobody, broker)
    #expect(unasked.status == 1)
    #expect(
      unasked.errors.contains(
        "no polkit agent available to authenticate action 'org.libvirt.unix.manage'"),
      "\(unasked.errors)")
    let looking = try await virsh(as: nobody, broker, readOnly: true)
    #expect(looking.status == 0, "\(looking.errors)")

    for (identifier, user, action) in [
      ("VB-AUTH-011", "uid 1)", "org.libvirt.unix.manage"),
      ("VB-AUTH-012", "uid 2)", "org.libvirt.unix.manage: denied"),
      ("VB-AUTH-011", "uid 65534)", "org.libvirt.unix.monitor"),
    ] {
      #expect(eventually { broker.logs(identifier, user, action) }, "\(user)")
    }
    #expect(!broker.log.contains("uid 0): polkit"))
    try await broker.stop()
  }

  @Test("without polkit only root is admitted; once polkit is reachable it decides again")
  func absent() async throws {
    let bus = try await PrivateBus.start(withPolkit: false)
    let broker = try await broker(bus.environment)
    let refused = try await virsh(as: 65_534, broker, readOnly: true)
    #expect(refused.status == 1)
    #expect(refused.errors.contains("authentication failed: the policy could not be asked for"))
    #expect(eventually { broker.log.contains("VB-AUTH-012 VB-POLKIT-004 VB-POLKIT-008: client ") })
    try await virshOutput(broker.unixURI(), "uri")
    bus.end()
    #expect(eventually { broker.log.contains("VB-POLKIT-006: ") })
    #expect(try await virsh(as: 65_534, broker, readOnly: true).status == 1)
    try await virshOutput(broker.unixURI(), "uri")
    try await broker.stop()
  }

  @Test("a hanging polkit delays only the clients that need its decision")
  func silent() async throws {
    // A socket that accepts connections and never answers.
    let directory = try Scratch.directory("d")
    let silence = try ScriptedBackend(in: directory, as: "bus") { _, _ in true }
    let broker = try await broker(
      ["DBUS_SYSTEM_BUS_ADDRESS": "unix:path=\(silence.path)"], settings: ["auth_timeout = 1"])
    async let asking = virsh(as: 65_534, broker)
    #expect(try await blocking { eventually { !silence.lines.isEmpty } })
    for _ in 0..<3 {
      try await virshOutput(broker.unixURI(), "uri")
      try await virshOutput(broker.tcpURI(), "uri")
    }
    // The broker still stops and disconnects the client that waits for polkit.
    try await broker.stop()
    #expect(try await asking.status == 1)
  }

  @Test("a client that waits for polkit is disconnected after auth_timeout")
  func timeout() async throws {
    let directory = try Scratch.directory("d")
    let silence = try ScriptedBackend(in: directory, as: "bus") { _, _ in true }
    let broker = try await broker(
      ["DBUS_SYSTEM_BUS_ADDRESS": "unix:path=\(silence.path)"],
      settings: ["auth_timeout = 1", "max_anonymous_clients = 2"])
    try await blocking {
      let asking = try (0..<2).map { _ in
        let client = try broker.client()
        try client.send(Packets.make(client.header(Remote.authPolkit)))
        return client
      }
      // Another client gets a place only after these are disconnected.
      let next = try broker.client()
      #expect(try next.call(Remote.authList).header.status == .ok)
      for client in asking { #expect(try client.awaitEnd(within: 10).isEmpty) }
      #expect(eventually { broker.logs("VB-AUTH-001", "1 s (auth_timeout)") })
    }
    try await broker.stop()
  }

  @Test("AUTH_POLKIT starts a check in any order of calls, and only once")
  func calls() async throws {
    let bus = try await PrivateBus.start()
    let broker = try await broker(bus.environment)
    try await blocking {
      // For root AUTH_LIST is enough, as with libvirt; without it AUTH_POLKIT checks even root.
      let client = try broker.client()
      #expect(try client.call(59).error?.message == "authentication required")
      #expect(try client.call(Remote.authSASLInit).error?.code == .authenticationFailed)
      let reply = try client.call(Remote.authPolkit)
      #expect(reply.decoded(AuthPolkitResult.self)?.complete == 1, "\(reply)")
      #expect(try client.call(Remote.authPolkit).error?.code == .internalError)
      try client.open()
      // Clients that disconnect during the check leave nothing behind.
      let before = settledDescriptorCount(of: broker.pid)
      for _ in 0..<50 {
        let leaving = try broker.client()
        try leaving.send(Packets.make(leaving.header(Remote.authPolkit)))
      }
      #expect(eventually { settledDescriptorCount(of: broker.pid) == before })
    }
    try await broker.stop()
  }
}
