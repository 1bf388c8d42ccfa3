// TLS with real clients: which are accepted and refused, and that they do not affect others.
import Certificates
import Foundation
import Streams
import Testing

@Suite("TLS with virsh", Lab.isPossible, .inTurn)
struct TLSVirshTests {
  @Test("calls, and a volume up and down; the log and the daemon get the client's name")
  func virsh() async throws {
    let lab = try await Lab.shared(.mono)
    let tls = try await TLSBroker(backends: lab.sockets)
    try await virshOutput(tls.uri, "list", "--all")
    #expect(eventually { tls.broker.log.contains(", TLS, O=Acme,CN=client1) connected") })
    let volumes = try await lab.pool("tls")
    let file = try Scratch.directory("tls") + "/file"
    try await Command("sh", "-c", "head -c 50000001 /dev/urandom > \(file)").output()
    try await virshOutput(tls.uri, "vol-create-as", "tls", "v", "50000001b")
    try await virshOutput(tls.uri, "vol-upload", "v", file, "--pool", "tls")
    try await virshOutput(tls.uri, "vol-download", "v", file + ".back", "--pool", "tls")
    for copy in [volumes + "/v", file + ".back"] {
      try await Command("cmp", file, copy).output()
    }
    try await virshOutput(tls.uri, "vol-delete", "v", "--pool", "tls")
    try await tls.broker.stop()
  }

  @Test("a refused virsh reports a problem with its certificate, and the log has the reason")
  func refused() async throws {
    let lab = try await Lab.shared(.mono)
    let tls = try await TLSBroker(
      backends: lab.sockets, settings: ["tls_allowed_dn_list = [ \"O=Acme,CN=client[12]\" ]"])
    let result = try await IntegrationTests.virsh(tls.uri, ["list"])
    #expect(result.status == 1)
    #expect(result.errors.contains("verification"), "\(result.errors)")
    #expect(
      tls.logged("VB-TLS-010 VB-CERT-037: ")
        && tls.logged("TLS client refused: certificate 'O=Acme,CN=client1': "))
    try await tls.broker.stop()
  }
}

@Suite("TLS")
struct TLSTests {
  /// A client that is refused, and the reason in the log.
  struct Refusal: Sendable, CustomTestStringConvertible {
    let name: String
    let settings: [String]
    let reason: String
    let identity: @Sendable (CertificateDirectory) throws -> ClientIdentity
    var testDescription: String { name }

    init(
      _ name: String, settings: [String] = [], _ reason: String,
      _ identity: @escaping @Sendable (CertificateDirectory) throws -> ClientIdentity
    ) {
      self.name = name
      self.settings = settings
      self.reason = reason
      self.identity = identity
    }

    static func changed(
      _ name: String, _ reason: String,
      _ change: @escaping @Sendable (inout CertificateWish) -> Void
    ) -> Refusal {
      Refusal(name, reason) {
        try ClientIdentity(MadeCertificate(.client("CN=x").with(change), from: $0.root))
      }
    }
  }

  static let refusals: [Refusal] = [
    Refusal("no certificate", "VB-TLS-010 VB-CERT-032: ") { _ in ClientIdentity() },
    .changed("expired", "VB-TLS-010 VB-CERT-034 VB-CERT-045 VB-CERT-023: ") { $0.validUntil = -60 },
    .changed("not yet valid", "VB-TLS-010 VB-CERT-034 VB-CERT-044 VB-CERT-024: ") {
      $0.validFrom = 3600
    },
    .changed("an authority's", "VB-TLS-010 VB-CERT-025: ") { $0.constraints = .authority },
    .changed("wrong purpose", "VB-TLS-010 VB-CERT-030: ") {
      ($0.purposes, $0.purposesAreCritical) = ([CertificateWish.serverPurpose], true)
    },
    Refusal("another authority's", "VB-TLS-010 VB-CERT-034 VB-CERT-041: ") { _ in
      try ClientIdentity(
        MadeCertificate(.client("CN=x"), from: MadeCertificate(.authority("CN=Other"))))
    },
    Refusal("an empty list", settings: ["tls_allowed_dn_list = []"], "VB-TLS-010 VB-CERT-038: ") {
      try $0.identity()
    },
    Refusal(
      "not in the list", settings: ["tls_allowed_dn_list = [ \"CN=y*\" ]"],
      "VB-TLS-010 VB-CERT-037: "
    ) {
      try $0.identity()
    },
  ]

  /// A broker with TLS in front of a daemon that answers every call.
  private func scene(
    _ settings: [String] = [], _ certificates: CertificateDirectory? = nil,
    realm: PasswordRealm? = nil
  ) async throws -> (TLSBroker, ScriptedBackend) {
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { _, _ in false }
    return (
      try await TLSBroker(
        backends: sockets, settings: settings, certificates: certificates,
        environment: realm?.environment ?? [:]), backend
    )
  }

  @Test("a refused client gets no byte, and the log has the reason", arguments: refusals)
  func refused(_ refusal: Refusal) async throws {
    let (tls, backend) = try await scene(refusal.settings)
    try await blocking {
      for priority in ["NORMAL", "NORMAL:-VERS-TLS1.3"] {
        var identity = try refusal.identity(tls.certificates)
        identity.priority = priority
        let (socket, session) = try tls.connected(identity)
        try session.handshake()
        // The connection ends with or without close_notify.
        #expect((try? session.receive(1)) ?? [] == [])
        withExtendedLifetime(socket) {}
      }
      #expect(tls.logged(refusal.reason))
      #expect(!tls.broker.log.contains(", TLS"), "a client was accepted")
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("tls_no_verify_certificate accepts these clients, but does not use their names")
  func notVerified() async throws {
    let (tls, backend) = try await scene(["tls_no_verify_certificate = 1"])
    try await blocking {
      _ = try tls.client(ClientIdentity())
      #expect(tls.logged("VB-TLS-011 VB-CERT-032: "))
      let stranger = try MadeCertificate(.client("CN=root"))
      _ = try tls.client(ClientIdentity(stranger))
      #expect(tls.logged("VB-TLS-011 VB-CERT-034 VB-CERT-041: "))
      #expect(!tls.broker.log.contains("TLS, CN=root"))
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test(
    "all packets pass through TLS, also those that wait decrypted",
    arguments: ["NORMAL", "NORMAL:-VERS-TLS1.3"])
  func packets(priority: String) async throws {
    let (tls, backend) = try await scene()
    try await blocking {
      var identity = try tls.certificates.identity()
      identity.priority = priority
      let (socket, session) = try tls.client(identity)
      func exchange(_ packets: [[UInt8]]) throws {
        try session.send(packets.joined())
        for _ in packets { _ = try session.receiveAll(28) }
      }
      try session.send(Packets.make(socket.header(Remote.authList)))
      _ = try session.receiveAll(36)
      try exchange([
        Packets.make(
          socket.header(Remote.connectOpen), ConnectOpenArguments(name: "qemu:///system", flags: 0))
      ])
      let told = backend.lines.flatMap(\.received).first {
        $0.header.procedure == Remote.connectSetIdentity
      }
      #expect(
        told?.decoded(SetIdentityArguments.self)?.parameters == [
          TypedParameter("x509-distinguished-name", .string("O=Acme,CN=client1"))
        ], "the daemon hears the name that was verified")
      // Many more calls than max_client_requests, so that some wait decrypted.
      for _ in 0..<5 {
        try exchange((0..<2000).map { _ in Packets.make(socket.header(59)) })
      }
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("the log says what a client sends instead of TLS, and other clients are not affected")
  func notTLS() async throws {
    let (tls, backend) = try await scene(["tls_handshake_timeout = 1"])
    try await blocking {
      let silent = try RawClient(tcp: tls.port)
      let plain = try RawClient(tcp: tls.port)
      try plain.send(Packets.make(plain.header(Remote.authList)))
      #expect(tls.logged("VB-TLS-016 VB-TLS-024: "))
      let web = try RawClient(tcp: tls.port)
      try web.send(Array("GET / HTTP/1.0\r\n\r\n".utf8))
      #expect(tls.logged("VB-TLS-016 VB-TLS-023: "))
      let hasty = try RawClient(tcp: tls.port)
      hasty.vanish()
      let other = try RawClient(tcp: tls.broker.port)
      try other.send([22, 3, 1, 2, 0, 1, 0, 1] + [UInt8](repeating: 0, count: 60))
      #expect(tls.logged("VB-PKT-003"))
      _ = try tls.client(tls.certificates.identity())
      #expect(tls.logged("VB-TLS-015: ") && tls.logged("1 s (tls_handshake_timeout)"))
      #expect(try silent.awaitEnd().isEmpty)
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("open handshakes exclude no client, neither on other sockets nor on the TLS port")
  func flood() async throws {
    let (tls, backend) = try await scene(
      ["max_clients = 5", "max_anonymous_clients = 1", "tls_max_handshakes = 10"])
    try await blocking {
      let silent = try (0..<100).map { _ in try RawClient(tcp: tls.port) }
      for way in [Way.unix, .tcp] { try tls.broker.client(way).open() }
      let (_, session) = try tls.client(tls.certificates.identity())
      #expect(
        eventually { tls.broker.log.contains("VB-TLS-013: tls_max_handshakes (10) is reached") })
      #expect(tls.logged("VB-TLS-014: "))
      session.close()
      withExtendedLifetime(silent) {}
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("at max_clients a verified client waits for the welcome byte until another leaves")
  func full() async throws {
    let (tls, backend) = try await scene(["max_clients = 1", "max_anonymous_clients = 1"])
    try await blocking {
      var inside: RawClient? = try tls.broker.client()
      try inside?.open()
      let identity = try tls.certificates.identity()
      let entered = DispatchSemaphore(value: 0)
      Thread {
        if (try? tls.client(identity)) != nil { entered.signal() }
      }.start()
      #expect(entered.wait(timeout: .now() + 0.5) == .timedOut)
      inside = nil
      #expect(entered.wait(timeout: .now() + 20) == .success)
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test(
    "verified clients that have not authenticated wait for the welcome byte at max_anonymous_clients"
  )
  func unauthenticatedWait() async throws {
    let (tls, backend) = try await scene(
      ["auth_tls = \"sasl\"", "max_anonymous_clients = 2"],
      realm: try await PasswordRealm.make("PLAIN"))
    try await blocking {
      let identity = try tls.certificates.identity()
      func isTold(_ client: (RawClient, TLSClient), within milliseconds: Int32 = 20_000) -> Bool {
        var item = pollfd(fd: client.0.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&item, 1, milliseconds) == 1 && (try? client.1.receive(1)) == [1]
      }
      // All connect before the first is verified, so the limit does not stop them at the listener.
      var waiting = try (0..<3).map { _ in try tls.connected(identity) }
      for client in waiting { try client.1.handshake() }
      // Several threads verify the clients, so any two of them are the first.
      var clients: [(RawClient, TLSClient)] = []
      let enough = eventually {
        if clients.count < 2, let index = waiting.firstIndex(where: { isTold($0, within: 0) }) {
          clients.append(waiting.remove(at: index))
        }
        return clients.count == 2
      }
      try #require(enough)
      let third = waiting[0]
      #expect(!isTold(third, within: 300))
      #expect(tls.logged("max_anonymous_clients (2) is reached"))
      // Other listeners are not affected.
      for way in [Way.unix, .tcp] { try tls.broker.client(way).open() }

      let (socket, session) = clients[0]
      let types = try session.exchange(Packets.make(socket.header(Remote.authList)))
      #expect(types.decoded(AuthListResult.self)?.types == [AuthListResult.sasl])
      _ = try session.exchange(Packets.make(socket.header(Remote.authSASLInit)))
      let done = try session.exchange(
        Packets.make(socket.header(Remote.authSASLStart), PlainLogin.start("fred", "secret")))
      #expect(done.decoded(SASLStepResult.self)?.isComplete == true, "\(done)")
      #expect(isTold(third), "a client that has authenticated frees its place")

      let late = try tls.connected(identity)
      #expect(!isTold(late, within: 300))
      clients.remove(at: 1).0.vanish()
      try late.1.handshake()
      #expect(isTold(late), "and so does a client that leaves")
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("new files are used, bad ones are refused with the reason, and sessions continue")
  func renewal() async throws {
    let certificates = try CertificateDirectory()
    let (tls, backend) = try await scene([], certificates)
    try await blocking {
      let identity = try certificates.identity()
      let (socket, session) = try tls.client(identity)
      func works() throws {
        try session.send(Packets.make(socket.header(Remote.authList)))
        _ = try session.receiveAll(36)
      }
      try works()
      #expect(session.servedName == "CN=localhost")

      // One file after the other, as a script would write them: the set is checked when both are there.
      try certificates.serve(.server("CN=second"))
      #expect(tls.logged("VB-TLS-002 VB-TLS-003: "))
      #expect(try tls.client(identity).1.servedName == "CN=second")

      try certificates.serve(.server("CN=expired").with { $0.validUntil = -60 })
      #expect(tls.logged("VB-TLS-004 VB-TLS-003 VB-CERT-023 "))
      #expect(
        tls.logged(
          "\(certificates.path("servercert.pem")): certificate 'CN=expired': expired on "))
      #expect(try tls.client(identity).1.servedName == "CN=second")

      try certificates.serve(.server("CN=third").with { $0.validUntil = 86_400 * 3 + 3600 })
      #expect(
        tls.logged("VB-CERT-021: ") && tls.logged("server certificate 'CN=third' expires in 3 days")
      )
      tls.broker.signal(SIGHUP)
      #expect(tls.logged("VB-TLS-002 VB-RUN-035: "))
      #expect(try tls.client(identity).1.servedName == "CN=third")
      try works()
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test(
    "unusable certificates end the start with the reason",
    arguments: [
      (
        "crl_file = \"/nonexistent/crl.pem\"",
        "VB-TLS-001 VB-CERT-001: TLS cannot be served: /nonexistent/crl.pem: "
      ),
      (
        "tls_priority = \"NORMAL:+NONSENSE\"",
        "VB-TLS-001 VB-TLS-006: TLS cannot be served: tls_priority 'NORMAL:+NONSENSE': "
      ),
      ("tls_port = \"65536\"", "expected a port number from 0 to 65535"),
      (
        "ca_file = \"/nonexistent/ca.pem\"",
        "VB-TLS-001 VB-CERT-001: TLS cannot be served: /nonexistent/ca.pem: "
      ),
    ])
  func start(setting: String, reason: String) async throws {
    let certificates = try CertificateDirectory()
    let key = setting.prefix { $0 != " " }
    let settings =
      certificates.settings(port: try BrokerProcess.freePort()).filter { !$0.hasPrefix(key) } + [
        setting
      ]
    let failure = await #expect(throws: Trouble.self) {
      _ = try await BrokerProcess.start(backends: certificates.directory, settings: settings)
    }
    #expect(failure?.description.contains(reason) == true, "\(failure?.description ?? "")")
  }

  @Test("gnutls-cli and openssl connect with a certificate")
  func otherClients() async throws {
    let (tls, backend) = try await scene()
    let pki = tls.certificates.directory
    let gnutls = try await Command(
      "sh", "-c",
      """
      sleep 1 | gnutls-cli --port \(tls.port) --x509cafile \(pki)/cacert.pem \
        --x509certfile \(pki)/clientcert.pem --x509keyfile \(pki)/clientkey.pem localhost
      """
    ).run()
    #expect(gnutls.output.contains("Handshake was completed"), "\(gnutls)")
    for version in ["-tls1_2", "-tls1_3"] {
      let openssl = try await Command(
        "sh", "-c",
        """
        sleep 1 | openssl s_client -connect localhost:\(tls.port) \(version) -CAfile \(pki)/cacert.pem \
          -verify_return_error -cert \(pki)/clientcert.pem -key \(pki)/clientkey.pem
        """
      ).run()
      #expect(openssl.output.contains("Verify return code: 0"), "\(openssl)")
    }
    #expect(
      eventually {
        tls.broker.log.components(separatedBy: ", TLS, O=Acme,CN=client1) connected").count == 4
      })
    for version in ["-tls1", "-tls1_1"] {
      let old = try await Command(
        "sh", "-c",
        "openssl s_client -connect localhost:\(tls.port) \(version) -cipher ALL@SECLEVEL=0 </dev/null"
      ).run()
      #expect(old.status != 0, "nothing older than TLS 1.2")
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("--check-tls reports faults and the certificate that a broker serves")
  func doctor() async throws {
    let (tls, backend) = try await scene()
    func examine(_ configuration: String, _ connect: String? = nil) async throws -> CommandResult {
      try await Command(
        [BrokerProcess.executable, "-f", configuration, "--check-tls"]
          + (connect.map { ["--connect", $0] } ?? [])
      ).run()
    }
    let configuration = tls.broker.directory + "/virtbrokerd.conf"
    let good = try await examine(configuration, "localhost:\(tls.port)")
    #expect(good.status == 0, "\(good)")
    #expect(good.output.contains("ok: VB-CERT-080: localhost port \(tls.port) serves TLS1.3"))
    #expect(good.output.contains("ok: VB-CERT-087: localhost port \(tls.port): "))
    #expect(good.output.contains("same as in \(tls.certificates.path("servercert.pem"))"))
    let address = try await examine(configuration, "127.0.0.1:\(tls.port)")
    #expect(address.status == 1 && address.output.contains("fault: VB-CERT-039: "), "\(address)")
    #expect(address.output.contains("not valid for host '127.0.0.1'"), "\(address)")

    // A set that the broker refuses: the check says so, and that another set is served.
    try tls.certificates.serve(.server().with { $0.validUntil = -60 })
    let bad = try await examine(configuration, "localhost:\(tls.port)")
    #expect(bad.status == 1)
    let file = tls.certificates.path("servercert.pem")
    #expect(bad.output.contains("fault: VB-CERT-022: \(file): "))
    #expect(bad.output.contains("fault: VB-CERT-023: \(file): "))
    #expect(bad.output.contains("warning: VB-CERT-088: localhost port \(tls.port): "))
    #expect(bad.output.contains("VB-CERT-090: "), "\(bad)")
    let unreachable = try await examine(configuration, "localhost:\(try BrokerProcess.freePort())")
    #expect(unreachable.status == 1 && unreachable.output.contains("fault: VB-CERT-081: "))
    let missing = try await examine("/nonexistent.conf")
    #expect(missing.status == 2)
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  @Test("after handshakes cut at any byte the broker serves and leaks no descriptor")
  func cut() async throws {
    let (tls, backend) = try await scene()
    try await blocking {
      let hello = try Recorder.hello(tls.certificates.identity())
      let before = settledDescriptorCount(of: tls.broker.pid)
      for length in stride(from: 0, through: hello.count, by: 5) {
        let client = try RawClient(tcp: tls.port)
        try client.send(hello.prefix(length))
        if length % 2 == 0 { client.vanish() }
      }
      _ = try tls.client(tls.certificates.identity())
      #expect(eventually { settledDescriptorCount(of: tls.broker.pid) == before })
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }
}

/// The first flight of a client, recorded without a server.
private enum Recorder {
  static func hello(_ identity: ClientIdentity) throws -> [UInt8] {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else {
      throw Trouble("socketpair: \(errnoText())")
    }
    let far = pair[1]
    Thread {
      if let session = try? TLSClient(far, as: identity) { try? session.handshake() }
      close(far)
    }.start()
    defer { close(pair[0]) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = read(pair[0], &bytes, bytes.count)
    guard count > 100 else { throw Trouble("no first flight") }
    return Array(bytes[..<count])
  }
}
