// SASL with real clients: which are admitted, and that every call works afterwards.
import Foundation
import Streams
import Testing

@Suite("SASL and virsh", Lab.isPossible, .inTurn)
struct SASLTests {
  /// A broker that requires SASL on every listener, in front of a real libvirtd.
  private func broker(_ realm: PasswordRealm, settings: [String] = []) async throws
    -> BrokerProcess
  {
    let lab = try await Lab.shared(.mono)
    return try await BrokerProcess.start(
      backends: lab.sockets,
      settings: [
        "auth_tcp = \"sasl\"", "auth_unix_rw = \"sasl\"", "auth_unix_ro = \"sasl\"",
      ] + settings, environment: realm.environment)
  }

  private func uri(_ broker: BrokerProcess, _ way: Way, _ options: String) -> String {
    broker.uri(way) + (way == .unix ? "&" : "?") + options
  }

  @Test(
    "the right password is accepted with every mechanism",
    arguments: [
      (Way.tcp, "DIGEST-MD5"), (.unix, "DIGEST-MD5"), (.unix, "SCRAM-SHA-256"), (.tcp, nil),
      (.unix, nil),
    ] as [(Way, String?)])
  func right(way: Way, mechanism: String?) async throws {
    let realm = try await PasswordRealm.make("SCRAM-SHA-256 DIGEST-MD5")
    let broker = try await broker(realm)
    let uri = uri(broker, way, try realm.options("fred", "secret", mechanism: mechanism))
    #expect(try await virshOutput(uri, "uri").hasPrefix("qemu"))
    #expect(try await virshOutput(uri, "capabilities").contains("</capabilities>"))
    #expect(eventually { broker.logs("VB-AUTH-004", "'fred' by \(mechanism ?? "")") })
    try await broker.stop()
  }

  @Test(
    "every refused client gets the same error, and the log has the reason",
    arguments: [
      (
        Way.tcp, "fred", "guess", "DIGEST-MD5", "DIGEST-MD5' failed: step 2: authentication failure"
      ),
      (.unix, "fred", "guess", "DIGEST-MD5", "DIGEST-MD5' failed: step 2: authentication failure"),
      (
        .unix, "fred", "guess", "SCRAM-SHA-256",
        "SCRAM-SHA-256' failed: step 2: authentication failure"
      ),
      (.unix, "nobody", "secret", "SCRAM-SHA-256", "SCRAM-SHA-256' failed: step 1: user not found"),
      (.tcp, "joe", "other", "DIGEST-MD5", "user 'joe' is not in sasl_allowed_username_list"),
      (.unix, "joe", "other", "SCRAM-SHA-256", "user 'joe' is not in sasl_allowed_username_list"),
    ])
  func wrong(way: Way, user: String, password: String, mechanism: String, reason: String)
    async throws
  {
    let realm = try await PasswordRealm.make("SCRAM-SHA-256 DIGEST-MD5")
    let broker = try await broker(realm, settings: ["sasl_allowed_username_list = [ \"f*d\" ]"])
    let options = try realm.options(user, password, mechanism: mechanism)
    let result = try await virsh(uri(broker, way, options), ["list"])
    #expect(result.status == 1)
    #expect(result.errors.contains("authentication failed"), "\(result.errors)")
    for secret in ["step", "user not", "allowed_username", "guess"] {
      #expect(!result.errors.contains(secret), "the client learns nothing of the reason")
    }
    #expect(eventually { broker.log.contains(reason) }, "\(broker.log)")
    #expect(!broker.log.contains("guess"), "no password is logged")
    // The next client is accepted.
    let good = try realm.options("fred", "secret", mechanism: mechanism)
    try await virshOutput(uri(broker, way, good), "list")
    try await broker.stop()
  }

  @Test("a mechanism that is not offered is an error of the client itself")
  func unknownMechanism() async throws {
    let realm = try await PasswordRealm.make("DIGEST-MD5")
    let broker = try await broker(realm)
    let options = try realm.options("fred", "secret", mechanism: "SCRAM-SHA-256")
    let result = try await virsh(uri(broker, .unix, options), ["list"])
    #expect(result.status == 1)
    #expect(result.errors.contains("SCRAM-SHA-256 not supported by server"), "\(result.errors)")
    try await broker.stop()
  }

  @Test(
    "if no mechanism is strong enough for tcp_min_ssf, the log says so at start and clients get no details"
  )
  func strength() async throws {
    let realm = try await PasswordRealm.make("SCRAM-SHA-256 DIGEST-MD5")
    let broker = try await broker(realm, settings: ["tcp_min_ssf = 256"])
    #expect(
      try await blocking {
        eventually { broker.logs("VB-AUTH-021 VB-SASL-005: ", "127.0.0.1:\(broker.port)") }
      })
    let options = try realm.options("fred", "secret")
    let result = try await virsh(uri(broker, .tcp, options), ["list"])
    #expect(result.status == 1)
    #expect(result.errors.contains("authentication failed: authentication failed"))
    try await virshOutput(uri(broker, .unix, options), "list")
    try await broker.stop()
  }

  @Test("volumes of any size are transferred in both directions through a security layer")
  func layer() async throws {
    let lab = try await Lab.shared(.mono)
    let realm = try await PasswordRealm.make("DIGEST-MD5")
    let broker = try await broker(realm)
    let uri = uri(broker, .tcp, try realm.options("fred", "secret"))
    let volumes = try await lab.pool("layered")
    let scratch = try Scratch.directory("volumes")
    for size in [1, 65_535, 262_120, 9_000_001] {
      try await Command(
        "sh", "-c", "head -c \(size) /dev/urandom > '\(scratch)/there'"
      ).output()
      try await virshOutput(uri, "vol-create-as", "layered", "v", "\(size)b")
      try await virshOutput(uri, "vol-upload", "v", scratch + "/there", "--pool", "layered")
      try await Command("cmp", scratch + "/there", volumes + "/v").output()
      try await virshOutput(uri, "vol-download", "v", scratch + "/back", "--pool", "layered")
      try await Command("cmp", scratch + "/there", scratch + "/back").output()
      try await virshOutput(uri, "vol-delete", "v", "--pool", "layered")
    }
    try await broker.stop()
  }
}

@Suite("The identity that a real daemon gets", Lab.isPossible, .inTurn)
struct SeenIdentityTests {
  @Test("it is the client's own, never the broker's or one that the client claims")
  func seen() async throws {
    let lab = try await Lab.shared(
      .mono, for: "identity",
      environment: [
        "LIBVIRT_LOG_FILTERS": "1:daemon.remote", "LIBVIRT_LOG_OUTPUTS": "1:stderr",
      ])
    let realm = try await PasswordRealm.make("SCRAM-SHA-256 DIGEST-MD5")
    let certificates = try CertificateDirectory()
    let port = try BrokerProcess.freePort()
    let broker = try await BrokerProcess.start(
      backends: lab.sockets,
      settings: [
        "auth_tcp = \"sasl\"", "auth_tls = \"sasl\"", "unix_sock_rw_perms = \"0777\"",
      ] + certificates.settings(port: port),
      environment: realm.environment)
    /// The number of log lines already read.
    var read = 0
    func told() throws -> [String] {
      let lines = try String(contentsOfFile: lab.directory + "/libvirtd.log", encoding: .utf8)
        .split(separator: "\n")
      defer { read = lines.count }
      return lines.dropFirst(read).compactMap { line in
        line.range(of: "params[").map { String(line[$0.lowerBound...]) }
      }
    }
    _ = try told()

    let home = try Scratch.directory("h")
    try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: home)
    var local = Command(
      "setpriv", "--reuid", "1", "--regid", "2", "--clear-groups", "virsh", "-q", "-c",
      broker.unixURI(), "list")
    local.environment["HOME"] = home
    try await local.output()
    let ofLocal = try told()
    #expect(ofLocal.count == 6, "\(ofLocal)")
    for field in [
      "[\"user-name\"]=(string)daemon", "[\"unix-user-id\"]=(ullong)1",
      "[\"group-name\"]=(string)bin", "[\"unix-group-id\"]=(ullong)2", "[\"process-id\"]=(llong)",
      "[\"process-time\"]=(ullong)",
    ] {
      #expect(ofLocal.contains { $0.contains(field) }, "\(field) in \(ofLocal)")
    }

    let uri = broker.tcpURI() + "?" + (try realm.options("joe", "other"))
    try await virshOutput(uri, "list")
    #expect(try told() == ["params[\"sasl-user-name\"]=(string)joe"])

    let tls = "qemu+tls://localhost:\(port)/system?pkipath=\(certificates.directory)&"
    try await virshOutput(
      tls + (try realm.options("fred", "secret", mechanism: "SCRAM-SHA-256")), "list")
    let ofBoth = try told()
    #expect(
      ofBoth == [
        "params[\"sasl-user-name\"]=(string)fred",
        "params[\"x509-distinguished-name\"]=(string)O=Acme,CN=client1",
      ])
    let wrong = try await virsh(tls + (try realm.options("fred", "guess")), ["list"])
    #expect(wrong.status == 1 && wrong.errors.contains("authentication failed"))

    try await blocking {
      let client = try broker.client()
      try client.open()
      let claim = SetIdentityArguments(parameters: [TypedParameter("user-name", .string("liar"))])
      #expect(try client.call(Remote.connectSetIdentity, claim).header.status == .ok)
      #expect(try client.call(59).header.status == .ok)
    }
    #expect(try told().allSatisfy { !$0.contains("liar") })
    try await broker.stop()
  }
}
