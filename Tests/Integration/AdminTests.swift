// The admin socket, used by the real virt-admin.
import Certificates
import Foundation
import Streams
import Testing

@Suite("virt-admin")
struct AdminTests {
  private func opened(_ broker: BrokerProcess, _ way: Way = .unix) async throws -> RawClient {
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      return client
    }
  }

  @Test("it lists the servers, their threads and their limits with libvirt's names and order")
  func servers() async throws {
    let scene = try await Scene.holding(settings: [
      "max_clients = 123", "max_anonymous_clients = 7", "admin_max_clients = 9",
      "admin_min_workers = 1", "admin_max_workers = 4",
    ])
    let admin = scene.broker.admin
    #expect(Set(try await admin.rows("srv-list").map { $0[1] }) == ["virtproxyd", "admin"])
    for server in ["virtproxyd", "admin"] {
      let threads = try await admin.values("srv-threadpool-info", server)
      #expect(
        threads.map(\.name) == [
          "minWorkers", "maxWorkers", "nWorkers", "freeWorkers", "prioWorkers", "jobQueueDepth",
        ])
      #expect(
        threads.map(\.value)
          == (server == "admin"
            ? ["1", "4", "1", "0", "0", "0"] : ["5", "20", "5", "5", "5", "0"]))
    }
    func limits(_ server: String) async throws -> [String] {
      let limits = try await admin.values("srv-clients-info", server)
      #expect(
        limits.map(\.name) == [
          "nclients_max", "nclients", "nclients_unauth_max", "nclients_unauth",
        ])
      return limits.map(\.value)
    }
    let client = try await opened(scene.broker)
    #expect(try await limits("virtproxyd") == ["123", "1", "7", "0"])
    #expect(try await limits("admin") == ["9", "1", "0", "0"])
    #expect(try await admin.output("version").contains("Running against daemon: 9.0.0"))
    withExtendedLifetime(client) {}
    try await scene.end()
  }

  @Test("thread pool numbers set by an administrator are reported until the file has others")
  func threads() async throws {
    let scene = try await Scene.holding(settings: ["min_workers = 2", "max_workers = 8"])
    let broker = scene.broker
    func numbers() async throws -> [String] {
      try await broker.admin.values("srv-threadpool-info", "virtproxyd").map(\.value)
    }
    #expect(try await numbers() == ["2", "8", "2", "2", "5", "0"])
    try await broker.admin.output(
      "srv-threadpool-set", "virtproxyd", "--min-workers", "3", "--max-workers", "30",
      "--priority-workers", "1")
    #expect(try await numbers() == ["3", "30", "3", "3", "1", "0"])
    func reload(_ text: String) throws {
      let path = broker.directory + "/virtbrokerd.conf"
      try (String(contentsOfFile: path, encoding: .utf8) + "\n\(text)\n")
        .write(toFile: path, atomically: false, encoding: .utf8)
      broker.signal(SIGHUP)
    }
    try reload("admin_max_clients = 50")
    #expect(
      eventually {
        broker.log.contains("VB-RUN-005: configuration reloaded; changed: admin_max_clients")
      })
    #expect(try await numbers() == ["3", "30", "3", "3", "1", "0"])
    try reload("prio_workers = 7")
    #expect(eventually { broker.log.contains("changed: prio_workers") })
    #expect(try await numbers() == ["2", "8", "2", "2", "7", "0"])
    try await scene.end()
  }

  @Test("a changed limit applies at once, also to waiting connections")
  func limits() async throws {
    let scene = try await Scene.holding(settings: ["max_clients = 2", "max_anonymous_clients = 2"])
    let broker = scene.broker
    let admin = broker.admin
    let inside = [try await opened(broker), try await opened(broker, .tcp)]
    let outside = try broker.client()
    try outside.send(Packets.make(outside.header(Remote.authList)))
    #expect(outside.receiveAll(for: 0.2).isEmpty)
    try await admin.output("srv-clients-set", "virtproxyd", "--max-clients", "3")
    #expect(try outside.receive()?.header.status == .ok, "it is let in")

    try await admin.output(
      "srv-clients-set", "virtproxyd", "--max-clients", "1", "--max-unauth-clients", "0")
    #expect(
      try await admin.values("srv-clients-info", "virtproxyd").map(\.value) == [
        "1", "3", "0", "0",
      ],
      "nobody is thrown out")
    let late = try broker.client()
    try late.send(Packets.make(late.header(Remote.authList)))
    #expect(late.receiveAll(for: 0.2).isEmpty, "but nobody comes in any more")

    withExtendedLifetime(inside) {}

    let refused = try await admin.run(
      "srv-clients-set", "virtproxyd", "--max-unauth-clients", "5")
    #expect(refused.status == 1)
    #expect(refused.errors.contains("nclients_unauth_max (5) must not be more than"))
    try await scene.end()
  }

  @Test("admin_max_clients makes further administrators wait until one leaves")
  func adminLimit() async throws {
    let scene = try await Scene.holding(settings: ["admin_max_clients = 1"])
    let admin = scene.broker.admin
    var first: RawClient? = try admin.client()
    let second = try RawClient(unix: admin.path)
    let call = AdminCall.libraryVersion
    let header = second.header(call.procedure, program: Program.admin)
    try second.send(Packets.make(header, arguments: call.arguments))
    #expect(second.receiveAll(for: 0.2).isEmpty)
    #expect(try first?.call(call).header.status == .ok)
    first = nil
    #expect(try second.receive()?.header.status == .ok)
    try await scene.end()
  }

  @Test("a client is disconnected at once, and others stay")
  func disconnect() async throws {
    let scene = try await Scene.holding()
    let broker = scene.broker
    let clients = [try await opened(broker), try await opened(broker)]
    let ids = try await broker.admin.rows("srv-clients-list", "virtproxyd").map { $0[0] }
    #expect(ids.count == 2)
    try await broker.admin.output("client-disconnect", "virtproxyd", ids[0])
    #expect(try await blocking { try clients[0].awaitEnd().isEmpty })
    #expect(try clients[1].call(Remote.authList).header.kind == .reply)
    let again = try await broker.admin.run("client-disconnect", "virtproxyd", ids[0])
    #expect(again.errors.contains("Client not found: No client with matching ID '\(ids[0])'"))
    #expect(eventually { broker.log.contains("disconnected: closed by an administrator") })
    try await scene.end()
  }

  @Test("a timeout set at run time ends the broker after its last client")
  func timeout() async throws {
    let scene = try await Scene.holding()
    let broker = scene.broker
    var client: RawClient? = try await opened(broker)
    try await broker.admin.output("daemon-timeout", "--timeout", "1")
    #expect(try await broker.awaitEnd(limit: .seconds(2)) == nil, "somebody is there")
    withExtendedLifetime(client) {}
    client = nil
    #expect(try await broker.awaitEnd() == 0)
  }

  @Test("the log's outputs and filters are shown, and can be changed at run time")
  func logging() async throws {
    let scene = try await Scene.holding()
    let broker = scene.broker
    let admin = broker.admin
    let usual = "2:file:\(broker.directory)/log"
    #expect(try await admin.output("daemon-log-outputs").contains(usual))
    #expect(try await admin.output("daemon-log-filters").contains("Logging filters:"))

    let other = "1:file:\(broker.directory)/other"
    try await admin.output("daemon-log-outputs", "--outputs", other)
    try await admin.output("daemon-log-filters", "--filters", "1:remote_driver 4:identity")
    #expect(try await admin.output("daemon-log-outputs").contains(other))
    #expect(try await admin.output("daemon-log-filters").contains("1:*remote_driver* 4:*identity*"))
    let client = try await opened(broker)
    let isWritten = try await blocking {
      eventually {
        let written = try? String(contentsOfFile: broker.directory + "/other", encoding: .utf8)
        return written?.contains("debug") == true && written?.contains("qemu:///system") == true
      }
    }
    #expect(isWritten)
    #expect(!broker.log.contains("qemu:///system"), "nothing of it is written to the old output")

    for (command, option, text) in [
      ("daemon-log-outputs", "--outputs", "1:nonsense"),
      ("daemon-log-outputs", "--outputs", "1:file:/nonexistent/log"),
      ("daemon-log-filters", "--filters", "9:x"),
    ] {
      let refused = try await admin.run(command, option, text)
      #expect(refused.status == 1)
      #expect(refused.errors.contains(text.dropFirst(2).split(separator: ":").last ?? ""))
    }
    #expect(try await admin.output("daemon-log-outputs").contains(other), "the old ones stay")
    try await admin.output("daemon-log-filters", "--filters", "")
    #expect(try await !admin.output("daemon-log-filters").contains("remote_driver"))
    withExtendedLifetime(client) {}
    try await scene.end()
  }

  @Test("certificates are reloaded, or refused with the reason, and then the current ones stay")
  func certificates() async throws {
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { _, _ in false }
    let tls = try await TLSBroker(backends: sockets)
    let admin = tls.broker.admin
    try await admin.output("server-update-tls", "virtproxyd")
    #expect(tls.logged("VB-TLS-002 VB-RUN-036: "))
    try tls.certificates.serve(.server().with { $0.validUntil = -60 })
    let refused = try await admin.run("server-update-tls", "virtproxyd")
    #expect(refused.status == 1)
    #expect(refused.errors.contains("servercert.pem") && refused.errors.contains("expired"))
    let (_, session) = try await blocking { [tls] in
      try tls.client(tls.certificates.identity())
    }
    withExtendedLifetime(session) {}
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("a network client is shown with address, certificate and user")
  func networkClients() async throws {
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { _, _ in false }
    let realm = try await PasswordRealm.make()
    let tls = try await TLSBroker(
      backends: sockets, settings: ["auth_unix_ro = \"sasl\""], environment: realm.environment)
    let admin = tls.broker.admin
    func info(_ transport: String) async throws -> [String: String] {
      let row = try #require(
        try await admin.rows("srv-clients-list", admin.server).last, "nobody is there")
      #expect(row[1] == transport)
      let values = try await admin.values("client-info", admin.server, row[0])
      #expect(values.prefix(4).map(\.name) == ["id", "connection_time", "transport", "readonly"])
      #expect(values[0].value == row[0] && values[2].value == transport)
      return Dictionary(uniqueKeysWithValues: values.map { ($0.name, $0.value) })
    }
    let tcp = try tls.broker.client(.tcp)
    _ = try tcp.call(Remote.authList)
    var told = try await info("tcp")
    #expect(told["sock_addr"]?.hasPrefix("127.0.0.1:") == true)
    #expect(told["tls_x509_dname"] == nil && told["unix_user_id"] == nil)
    let (socket, session) = try await blocking { try tls.client(tls.certificates.identity()) }
    told = try await info("tls")
    #expect(told["sock_addr"]?.hasPrefix("127.0.0.1:") == true)
    #expect(told["tls_x509_dname"] == "O=Acme,CN=client1")
    let local = try tls.broker.client(readOnly: true)
    #expect(
      try await admin.values("srv-clients-info", admin.server).map(\.value).last == "1",
      "it has not logged in yet")
    try local.mustLogIn()
    told = try await info("unix")
    #expect(told["sasl_user_name"] == "fred")
    #expect(told["readonly"] == "yes")
    #expect(told["unix_user_name"] == "root")
    #expect(told["unix_process_id"] == "\(getpid())")
    #expect(try await admin.values("srv-clients-info", admin.server).map(\.value).last == "0")
    withExtendedLifetime((tcp, socket, session, backend)) {}
    try await tls.broker.stop()
  }

  @Test("another user is not served")
  func others() async throws {
    let scene = try await Scene.holding(settings: ["unix_sock_admin_perms = \"0777\""])
    let broker = scene.broker
    try #require(getuid() == 0, "needs root")
    for path in [Scratch.root, broker.directory] { chmod(path, 0o755) }
    let other = try await Command(
      "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "virt-admin", "-c",
      "libvirtd:///system?socket=\(broker.admin.path)", "srv-list"
    ).run()
    #expect(other.status != 0)
    #expect(other.output.isEmpty)
    #expect(
      eventually {
        broker.log.contains("VB-ADMIN-004: the admin socket serves only uid 0; refused uid 65534")
      })
    var status = stat()
    #expect(stat(broker.admin.path, &status) == 0 && status.st_mode & 0o777 == 0o777)
    try await scene.end()
    let usual = try await Scene.holding()
    #expect(stat(usual.broker.admin.path, &status) == 0 && status.st_mode & 0o777 == 0o700)
    try await usual.end()
  }

  @Test("a client that supports keepalive gets PINGs, and is dropped when it does not answer")
  func keepAlive() async throws {
    let scene = try await Scene.holding(settings: [
      "admin_keepalive_interval = 1", "admin_keepalive_count = 1",
    ])
    try await blocking {
      let silent = try scene.broker.admin.client()
      try silent.send(Packets.keepAlive(KeepAliveProcedure.ping))
      let heard = try silent.awaitEnd()
      #expect(heard.filter(\.isPong).count == 1)
      #expect(heard.filter(\.isPing).count == 1)
      let unasked = try scene.broker.admin.client()
      #expect(unasked.receiveAll(for: 1.5).isEmpty, "libvirt's own clients would be confused")
    }
    #expect(eventually { scene.broker.log.contains("admin_keepalive_interval 1 s") })
    try await scene.end()
  }
}
