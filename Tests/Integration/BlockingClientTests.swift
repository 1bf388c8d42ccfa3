// Blocking clients without an event loop, over every transport: they read one packet at a time.
import Foundation
import Testing

@Suite("Blocking clients without an event loop", Lab.isPossible, .inTurn)
struct BlockingClientTests {
  /// The way from the client to the broker, or to its backend.
  enum Transport: String, CaseIterable, Sendable {
    case unix, tcp, tls
    case sasl = "TCP encrypted by SASL"
    case forwarded = "TLS between two brokers"
    case host = "TLS from the broker to libvirtd"
  }

  @Test(
    "streams of every size end at once, also aborted, sparse and concurrent ones",
    arguments: Transport.allCases)
  func streams(_ transport: Transport) async throws {
    let purpose = "blocking \(transport == .host ? "host" : "any")"
    let certificates = try CertificateDirectory()
    let port = try BrokerProcess.freePort()
    let lab = try await Lab.shared(
      .mono, for: purpose,
      environment: transport == .host
        ? ["LAB_TLS_PORT": "\(port)", "LAB_TLS_PKI": certificates.directory] : [:])
    let guest = "screen"
    try await lab.guest(guest)
    let pool = "blocking-\(transport)"
    try await lab.pool(pool)
    var brokers: [BrokerProcess] = []
    var path: TCPPath?
    let uri: String
    switch transport {
    case .unix, .tcp:
      brokers = [try await BrokerProcess.start(in: lab)]
      uri = transport == .unix ? brokers[0].unixURI() : brokers[0].tcpURI()
    case .tls:
      let tls = try await TLSBroker(backends: lab.sockets, certificates: certificates)
      brokers = [tls.broker]
      uri = tls.uri
    case .sasl:
      let realm = try await PasswordRealm.make("DIGEST-MD5")
      brokers = [
        try await BrokerProcess.start(
          backends: lab.sockets, settings: ["auth_tcp = \"sasl\""], environment: realm.environment)
      ]
      uri = brokers[0].tcpURI() + "?" + (try realm.options("fred", "secret"))
    case .forwarded:
      let far = try await TLSBroker(backends: lab.sockets, certificates: certificates)
      let near = try await Bastion.start(
        allowed: ["tls://localhost:\(far.port)"], rules: ["* pkipath=\(certificates.directory)"])
      brokers = [near, far.broker]
      uri = near.uri(through: "qemu+tls://localhost:\(far.port)/system")
    case .host:
      let way = try await TCPPath(into: lab, port: port)
      path = way
      let near = try await Bastion.start(
        allowed: ["tls://localhost:\(way.port)"], rules: ["* pkipath=\(certificates.directory)"])
      brokers = [near]
      uri = near.uri(through: "qemu+tls://localhost:\(way.port)/system")
    }
    try await python("blocking.py", [uri, pool, guest, "\(Self.rounds(transport))"])
    for broker in brokers { try await broker.stop() }
    withExtendedLifetime(path) {}
  }

  /// Repetitions of each stream. The bug that this test detects appeared within the first few.
  private static func rounds(_ transport: Transport) -> Int { transport == .tls ? 200 : 50 }

  @Test("sixteen streams, twenty threads and streams that end early share a TLS connection")
  func shared() async throws {
    let lab = try await Lab.shared(.mono)
    let tls = try await TLSBroker(backends: lab.sockets)
    let guests = (1...3).map { "busy\($0)-tls" }
    for guest in guests { try await lab.guest(guest) }
    for pool in ["streams-tls", "threads-tls", "aborts-tls"] { try await lab.pool(pool) }
    try await python("streams.py", [tls.uri, "streams-tls"] + guests)
    try await python("threads.py", [tls.uri, "threads-tls", guests[0]])
    try await python("abort.py", [tls.uri, "aborts-tls", guests[0]])
    try await tls.broker.stop()
  }

  @Test("keystrokes are echoed at once to a console in an event loop over TLS")
  func console() async throws {
    let lab = try await Lab.shared(.mono)
    let tls = try await TLSBroker(backends: lab.sockets)
    try await lab.guest("typist-tls")
    try await python("console_events.py", [tls.uri, "typist-tls", "200"])
    try await tls.broker.stop()
  }

  @Test("twenty downloads of 8 MiB by virsh over TLS are as fast as over TCP")
  func virsh() async throws {
    let lab = try await Lab.shared(.mono, for: "blocking any")
    try await lab.pool("timed")
    let tls = try await TLSBroker(backends: lab.sockets)
    try await virshOutput(tls.uri, "vol-create-as", "timed", "v", "8MiB")
    let file = try Scratch.directory("timed") + "/v"
    func seconds(_ uri: String) async throws -> [Double] {
      var times: [Double] = []
      for _ in 0..<20 {
        let start = ContinuousClock.now
        try await virshOutput(uri, "vol-download", "v", file, "--pool", "timed")
        times.append((ContinuousClock.now - start) / .seconds(1))
      }
      return times.sorted()
    }
    let tcp = try await seconds(tls.broker.tcpURI())
    let most = try #require(try await seconds(tls.uri).last)
    // A hanging download continued at the client's next keepalive, after 5 s. Other tests run at the same time, so
    // the limit includes one more second.
    #expect(most < 3 * tcp[10] + 1, "\(most) s over TLS, \(tcp[10]) s over TCP in the median")
    try await virshOutput(tls.uri, "vol-delete", "v", "--pool", "timed")
    try await tls.broker.stop()
  }

  @Test("no TLS record contains bytes of two packets")
  func records() async throws {
    let lab = try await Lab.shared(.mono, for: "blocking any")
    try await lab.guest("screen")
    try await lab.pool("records")
    let tls = try await TLSBroker(backends: lab.sockets)
    try await python(
      "records.py",
      [
        "\(tls.port)", tls.certificates.directory, tls.broker.tcpURI(), "records", "screen",
      ])
    try await tls.broker.stop()
  }
}
