// virtbroker-pki: a real broker and a real virsh accept its certificates.
import Foundation
import Testing

@Suite("virtbroker-pki", .inTurn)
struct PKITests {
  /// A private root directory in which the script works.
  struct Pki {
    let root: String
    init() throws { root = try Scratch.directory("pki") }

    func run(_ arguments: String...) async throws -> CommandResult { try await run(arguments) }

    func run(_ arguments: [String]) async throws -> CommandResult {
      try await Command(
        ["\(Package.project)/scripts/virtbroker-pki", "--root", root] + arguments
      ).run()
    }

    /// Runs the script, which must succeed, and returns its output.
    @discardableResult
    func make(
      _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
      let result = try await run(arguments)
      #expect(result.status == 0, "\(result.errors)", sourceLocation: sourceLocation)
      return result.output
    }

    var authority: String { root + "/etc/pki/CA/cacert.pem" }
    var authorityKey: String { root + "/etc/pki/CA/private/cakey.pem" }
    func certificate(_ role: String) -> String { "\(root)/etc/pki/libvirt/\(role)cert.pem" }
    func key(_ role: String) -> String { "\(root)/etc/pki/libvirt/private/\(role)key.pem" }

    func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }
    func permissions(_ path: String) throws -> Int? {
      try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    }
  }

  @Test("virtbrokerd --check-tls reports no fault, and virsh connects", Lab.isPossible)
  func works() async throws {
    let pki = try Pki()
    try await pki.make("authority")
    try await pki.make("server", "localhost", "127.0.0.1", "::1")
    let bundle = try Scratch.directory("joe")
    try await pki.make(
      "client", "joe", "--organization", "Acme", "--to", bundle)

    let lab = try await Lab.shared(.mono)
    let port = try BrokerProcess.freePort()
    let broker = try await BrokerProcess.start(
      backends: lab.sockets,
      settings: [
        "listen_tls = 1", "tls_port = \"\(port)\"", "ca_file = \"\(pki.authority)\"",
        "cert_file = \"\(pki.certificate("server"))\"", "key_file = \"\(pki.key("server"))\"",
        "tls_allowed_dn_list = [ \"O=Acme,CN=joe\" ]",
      ])
    for name in ["localhost:\(port)", "127.0.0.1:\(port)"] {
      let check = try await Command(
        BrokerProcess.executable, "--check-tls", "--connect", name, "-f",
        broker.directory + "/virtbrokerd.conf"
      ).run()
      #expect(check.status == 0, "\(check.output)")
      #expect(!check.output.contains("fault:"), "\(check.output)")
      try await virshOutput("qemu+tls://\(name)/system?pkipath=\(bundle)", "list")
    }
    try await broker.stop()
  }

  @Test("a second run keeps existing files, or says what differs")
  func again() async throws {
    let pki = try Pki()
    let commands = [["authority"], ["server", "a.example", "192.0.2.1"], ["client", "joe"]]
    let files = [
      pki.authority, pki.authorityKey, pki.certificate("server"), pki.key("server"),
      pki.certificate("client"), pki.key("client"),
    ]
    func runAll() async throws -> [CommandResult] {
      var results: [CommandResult] = []
      for command in commands { results.append(try await pki.run(command)) }
      return results
    }
    #expect(try await runAll().allSatisfy { $0.status == 0 && $0.output.hasPrefix("made ") })
    let before = try files.map(pki.bytes)
    #expect(try await runAll().allSatisfy { $0.status == 0 && $0.output.hasPrefix("kept ") })
    for (command, complaint) in [
      (["server", "b.example"], "is there already, for 'CN=a.example'"),
      (["server", "a.example", "b.example"], "is not good for 'b.example'"),
      (["client", "jim"], "is there already, for 'CN=joe'"),
    ] {
      let result = try await pki.run(command)
      #expect(result.status == 1 && result.errors.contains(complaint), "\(result.errors)")
    }
    #expect(try files.map(pki.bytes) == before)

    // A renewed certificate has the same key.
    try await pki.make("server", "a.example", "192.0.2.1", "--renew")
    #expect(try pki.bytes(pki.certificate("server")) != before[2])
    #expect(try pki.bytes(pki.key("server")) == before[3])
  }

  @Test("keys are readable only by their owner, certificates by all")
  func permissions() async throws {
    let pki = try Pki()
    try await pki.make("authority")
    try await pki.make("server", "localhost")
    for key in [pki.authorityKey, pki.key("server")] {
      #expect(try pki.permissions(key) == 0o600)
      #expect(try pki.permissions((key as NSString).deletingLastPathComponent) == 0o700)
    }
    for certificate in [pki.authority, pki.certificate("server")] {
      #expect(try pki.permissions(certificate) == 0o644)
    }
  }

  @Test(
    "a bundle is installed on another host if it is complete and no file is in its way")
  func bundle() async throws {
    let home = try Pki()
    let away = try Pki()
    try await home.make("authority")
    let bundle = try Scratch.directory("bundle")
    try await home.make("server", "b.example", "--to", bundle)
    try await away.make("install", bundle)
    #expect(try away.bytes(away.certificate("server")) == home.bytes(bundle + "/servercert.pem"))
    #expect(try away.permissions(away.key("server")) == 0o600)
    #expect(try await away.make("install", bundle).hasPrefix("kept "))
    let noKey = try await away.run("client", "joe")
    #expect(noKey.errors.contains("but not its key \(away.authorityKey)"), "\(noKey.errors)")

    let other = try Pki()
    try await other.make("authority", "another")
    let inTheWay = try await other.run("install", bundle)
    #expect(inTheWay.status == 1)
    #expect(inTheWay.errors.contains("\(other.authority) is there already and differs"))
    #expect(!FileManager.default.fileExists(atPath: other.key("server")))

    try other.bytes(other.authority).write(to: URL(fileURLWithPath: bundle + "/cacert.pem"))
    let mixed = try await Pki().run("install", bundle)
    #expect(mixed.errors.contains("is not vouched for by \(bundle)/cacert.pem"), "\(mixed.errors)")
  }

  @Test(
    "the error names an invalid argument, and no file is created",
    arguments: [
      (["server", "localhost"], 1, "there is no authority in"),
      (["server"], 2, "server needs the host names"),
      (["server", "a b"], 2, "'a b' is neither a host name nor an address"),
      (["client"], 2, "client needs one name"),
      (["client", "a\"\nca"], 2, "cannot be a client's name"),
      (["authority", "--days", "0"], 2, "--days: expected 1 to 99999"),
      (["authority", "--to", "x"], 2, "the authority stays where it is"),
      (["authority", "--bogus"], 2, "there is no option --bogus"),
      (["install", "/nonexistent"], 1, "there is no directory /nonexistent"),
      (["bogus"], 2, "there is no command 'bogus'"),
      ([], 2, "a command is missing"),
    ] as [([String], Int32, String)])
  func complaints(arguments: [String], status: Int32, complaint: String) async throws {
    let pki = try Pki()
    let result = try await pki.run(arguments)
    #expect(result.status == status)
    #expect(result.errors.hasPrefix("virtbroker-pki: "))
    #expect(result.errors.contains(complaint), "\(result.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: pki.root).isEmpty)
  }

  @Test("root cannot use the paths for users, because root's programs do not look there")
  func users() async throws {
    let home = try Scratch.directory("home")
    let script = "\(Package.project)/scripts/virtbroker-pki"
    let root = try await Command("env", "HOME=\(home)", script, "authority", "--user").run()
    #expect(root.status == 2)
    #expect(root.errors.contains("--user is for other users than root"), "\(root.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: home).isEmpty)
    chmod((home as NSString).deletingLastPathComponent, 0o755)
    chown(home, 65534, 65534)
    let copy = home + "/virtbroker-pki"
    try FileManager.default.copyItem(atPath: script, toPath: copy)
    let other = try await Command(
      "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=\(home)", "bash",
      copy, "authority", "--user"
    ).run()
    #expect(other.status == 0, "\(other.errors)")
    #expect(FileManager.default.fileExists(atPath: home + "/.pki/libvirt/cacert.pem"))
  }

  @Test("without certtool the error names the package")
  func noTool() async throws {
    let bin = try Scratch.directory("bin")
    for tool in ["bash", "mktemp", "rm"] {
      try FileManager.default.createSymbolicLink(
        atPath: "\(bin)/\(tool)", withDestinationPath: "/usr/bin/\(tool)")
    }
    let result = try await Command(
      "/usr/bin/env", "PATH=\(bin)", "bash", "\(Package.project)/scripts/virtbroker-pki",
      "authority", "--root", bin
    ).run()
    #expect(result.status == 1 && result.errors.contains("gnutls-bin"), "\(result.errors)")
  }
}
