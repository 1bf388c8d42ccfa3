// The same calls to the broker's admin socket and to a real libvirtd's.
import Foundation
import Streams
import Testing

// Serialized: all tests use one libvirtd, and some change its thread pools.
@Suite("admin interface compared with libvirtd's", Lab.isPossible, .inTurnFirst, .serialized)
struct AdminComparisonTests {
  private func ready() async throws -> (Lab, BrokerProcess) {
    let lab = try await Lab.shared(.mono, for: "admin")
    return (lab, try await BrokerProcess.start(in: lab))
  }

  /// Calls for this server whose reply does not depend on the connected clients.
  private func calls(_ server: String) -> [AdminCall] {
    let noClient = AdminClient(server: server, id: 1 << 40)
    func limit(_ parameters: [TypedParameter]) -> AdminCall {
      .setClientLimits(server: server, parameters, flags: 0)
    }
    func threads(_ parameters: [TypedParameter]) -> AdminCall {
      .setThreadPool(server: server, parameters, flags: 0)
    }
    let one = TypedParameter("nclients_max", .uint(5000))
    let worker = TypedParameter("minWorkers", .uint(1))
    return [
      .open(flags: 0), .open(flags: 1), .libraryVersion,
      .listServers(wantsList: false, flags: 0), .listServers(wantsList: true, flags: 8),
      .lookUpServer("x", flags: 0), .lookUpServer("", flags: 0),
      .threadPool(server: server, flags: 0x10), .threadPool(server: "x", flags: 1),
      threads([]), threads([TypedParameter("nWorkers", .uint(1))]),
      threads([TypedParameter("minWorkers", .int(1))]), threads([worker, worker]),
      threads([TypedParameter("minWorkers", .uint(21))]),
      threads([TypedParameter("maxWorkers", .uint(0))]),
      threads([TypedParameter("maxWorkers", .uint(0)), TypedParameter("minWorkers", .uint(0))]),
      threads([TypedParameter("minWorkers", .uint(5)), TypedParameter("maxWorkers", .uint(4))]),
      .setThreadPool(server: server, [], flags: 1),
      .listClients(server: "x", wantsList: true, flags: 1),
      .listClients(server: server, wantsList: true, flags: .max),
      .lookUpClient(server: server, id: 1 << 40, flags: 0),
      .lookUpClient(server: server, id: .max, flags: 0),
      .lookUpClient(server: server, id: 1, flags: 1),
      .lookUpClient(server: "x", id: 1, flags: 1),
      .clientInfo(noClient, flags: 1), .clientInfo(AdminClient(server: "x", id: 1), flags: 0),
      .closeClient(noClient, flags: 1), .closeClient(AdminClient(server: "x", id: 1), flags: 0),
      .clientLimits(server: server, flags: 1), .clientLimits(server: "x", flags: 0),
      limit([]), limit([TypedParameter("nclients", .uint(1))]),
      limit([TypedParameter("nclients_max", .string("1"))]), limit([one, one]),
      .setClientLimits(server: server, [], flags: 2),
      .logOutputs(flags: 1), .logFilters(flags: 1), .setLogOutputs(nil, flags: 1),
      .setLogFilters(nil, flags: 1),
      .updateTLS(server: server, flags: 1), .updateTLS(server: server, flags: 0),
      .updateTLS(server: "admin", flags: 0), .updateTLS(server: "x", flags: 0),
      .setTimeout(seconds: 5, flags: 1), .setTimeout(seconds: 0, flags: 0),
    ]
  }

  /// The reply as text, with one name for both main servers.
  private func told(_ packet: RawPacket, by admin: AdminSocket) -> String {
    let text =
      packet.error == nil ? "\(packet) \(packet.body)" : "\(packet)"
    return text.replacingOccurrences(of: "'\(admin.server)'", with: "'MAIN'")
  }

  @Test("each call gets the same result or the same error as from libvirtd")
  func answers() async throws {
    let (lab, broker) = try await ready()
    try await blocking {
      var answers: [[String]] = []
      for admin in [lab.admin, broker.admin] {
        let client = try admin.client()
        answers.append(
          try calls(admin.server).map { "\($0.procedure): \(told(try client.call($0), by: admin))" }
        )
      }
      for (real, ours) in zip(answers[0], answers[1]) { #expect(real == ours) }
      #expect(answers[0].count == answers[1].count)
    }
    try await broker.stop()
  }

  @Test("thread pools report the same numbers as libvirtd's, before and after each change")
  func threadPools() async throws {
    let (lab, broker) = try await ready()
    func info(_ admin: AdminSocket, _ server: String) async throws -> [String] {
      try await admin.values("srv-threadpool-info", server).map { "\($0.name)=\($0.value)" }
    }
    func expectSame() async throws {
      for (real, ours) in [(lab.admin.server, broker.admin.server), ("admin", "admin")] {
        let told = try await info(broker.admin, ours)
        var wanted: [String] = []
        // Threads of libvirtd end some time after the change.
        for _ in 0..<100 where wanted != told { wanted = try await info(lab.admin, real) }
        #expect(told == wanted)
      }
    }
    try await expectSame()
    let changes = [
      ["--min-workers", "7", "--priority-workers", "9"],
      ["--min-workers", "2", "--max-workers", "7", "--priority-workers", "3"],
      ["--max-workers", "4"], ["--min-workers", "0", "--priority-workers", "0"],
      // The initial values of both, for the tests that follow.
      ["--min-workers", "5", "--max-workers", "20", "--priority-workers", "5"],
    ]
    for change in changes {
      for admin in [lab.admin, broker.admin] {
        for server in [admin.server, "admin"] {
          try await admin.output(["srv-threadpool-set", server] + change)
        }
      }
      try await expectSame()
    }
    for admin in [lab.admin, broker.admin] {
      try await admin.output("srv-threadpool-set", "admin", "--priority-workers", "0")
    }
    try await expectSame()
    try await broker.stop()
  }

  @Test(
    "invalid programs, versions, procedures, statuses and bodies get libvirtd's error messages")
  func nonsense() async throws {
    let (lab, broker) = try await ready()
    try await blocking {
      func answers(_ admin: AdminSocket) throws -> [String] {
        let client = try admin.client()
        var headers = [
          client.header(3, program: Program.remote), client.header(3, program: 0),
          client.header(3, program: Program.admin, version: 2),
          client.header(3, program: Program.admin, status: .error),
        ]
        headers += [0, -1, 999].map { client.header($0, program: Program.admin) }
        headers += [1, 5, 10, 13].map { client.header($0, program: Program.admin) }
        return try headers.map { "\(try client.call($0, Packets.make($0)))" }
      }
      #expect(try answers(lab.admin) == answers(broker.admin))
      // A PING is answered, and packets that no client sends are ignored.
      for admin in [lab.admin, broker.admin] {
        let client = try admin.client()
        try client.send(
          Packets.make(client.header(3, program: Program.admin, kind: .reply))
            + Packets.make(client.header(3, program: Program.admin, kind: .stream))
            + Packets.keepAlive(KeepAliveProcedure.ping))
        #expect(try client.receive()?.isPong == true)
        #expect(try client.call(.libraryVersion).header.status == .ok)
        #expect(try client.call(.close).header.status == .ok)
        #expect(try client.awaitEnd().isEmpty, "the connection ends behind the reply")
      }
    }
    try await broker.stop()
  }

  /// Whether and how a client becomes read-only.
  enum ReadOnly: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case no = "a client that may write"
    case socket = "a client of the read-only socket"
    case flag = "a client that opens with the read-only flag"
    var testDescription: String { rawValue }
  }

  @Test(
    "virt-admin prints the same about a local client as for libvirtd, except its number",
    arguments: ReadOnly.allCases
  )
  func localClient(kind: ReadOnly) async throws {
    let (lab, broker) = try await ready()
    let readOnly = kind != .no
    let ends = [
      (lab.admin, lab.directURI(readOnly: kind == .socket)),
      (broker.admin, broker.unixURI(readOnly: kind == .socket)),
    ]
    var told: [[String]] = []
    for (admin, uri) in ends {
      func clients() async throws -> [[String]] {
        try await admin.rows("srv-clients-list", admin.server)
      }
      // The broker's own connections to libvirtd are older and are left out.
      let before = Set(try await clients().map { $0[0] })
      let shell = try IdleShell(uri, readOnly: readOnly)
      defer { withExtendedLifetime(shell) {} }
      var info: [(name: String, value: String)] = []
      while info.isEmpty {
        // Clients of other tests use the same libvirtd, and may have left before their details are read.
        for row in try await clients() where !before.contains(row[0]) && row[1] == "unix" {
          let said = try? await admin.values("client-info", admin.server, row[0])
          let isOurs = said?.contains { $0.name == "readonly" && ($0.value == "yes") == readOnly }
          if let said, isOurs == true { info = said }
        }
      }
      told.append(
        info.map { field in
          switch field.name {
          case "id", "connection_time": field.name
          // The lab has a PID namespace, so this process has no ID there.
          case "unix_process_id": field.name
          default: "\(field.name)=\(field.value)"
          }
        })
    }
    #expect(told[0] == told[1])
    #expect(told[1].contains("unix_user_name=root"))
    #expect(told[1].contains("readonly=\(readOnly ? "yes" : "no")"))
    try await broker.stop()
  }
}
