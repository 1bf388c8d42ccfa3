// The admin protocol's calls: parsed from a recording, encoded and parsed again, cut at any byte.
import Streams
import Testing

@Suite("admin calls")
struct AdminTests {
  private static let client = AdminClient(
    server: "virtproxyd", id: .max, connectedAt: -1, transport: AdminClient.tls)
  private static let parameters = [
    TypedParameter("minWorkers", .uint(1)), TypedParameter("x", .string("y")),
  ]

  /// One of each call, with a value in every field.
  static let calls: [AdminCall] = [
    .open(flags: 1), .close, .libraryVersion, .listServers(wantsList: true, flags: 2),
    .lookUpServer("admin", flags: 3), .threadPool(server: "virtproxyd", flags: 4),
    .setThreadPool(server: "virtproxyd", parameters, flags: 5),
    .listClients(server: "virtproxyd", wantsList: false, flags: 6),
    .lookUpClient(server: "admin", id: 1 << 63, flags: 7), .clientInfo(client, flags: 8),
    .closeClient(client, flags: 9), .clientLimits(server: "admin", flags: 10),
    .setClientLimits(server: "admin", parameters, flags: 11), .logOutputs(flags: 12),
    .logFilters(flags: 13), .setLogOutputs("1:file:/log", flags: 14),
    .setLogFilters(nil, flags: 15), .updateTLS(server: "virtproxyd", flags: 16),
    .setTimeout(seconds: 30, flags: 17), .shutDown(flags: 18),
  ]

  private func read(_ procedure: Int32, _ bytes: some Collection<UInt8>) throws -> AdminCall? {
    try Array(bytes).withUnsafeBytes { try AdminCall(procedure: procedure, body: $0) }
  }

  @Test("each call has its number and survives encoding and parsing", arguments: calls)
  func roundTrip(call: AdminCall) throws {
    let bytes = call.arguments
    #expect(try read(call.procedure, bytes) == call)
    #expect(try read(call.procedure, bytes + [1, 2, 3]) == call, "what follows is ignored")
    for count in 0..<bytes.count {
      #expect(throws: Violation.self, "cut to \(count) of \(bytes.count) bytes") {
        try read(call.procedure, bytes.prefix(count))
      }
    }
  }

  @Test("the table has a procedure for each call, and a call for each procedure")
  func numbers() throws {
    #expect(Self.calls.map(\.procedure) == Array(1...20))
    for number: Int32 in [.min, -1, 0, 21, .max] {
      #expect(try read(number, [UInt8](repeating: 0, count: 64)) == nil)
      #expect(ProcedureTable.find(program: Program.admin, procedure: number) == nil)
    }
    let names: [Int32: String] = [
      1: "CONNECT_OPEN", 10: "CLIENT_GET_INFO", 18: "SERVER_UPDATE_TLS_FILES",
      20: "CONNECT_DAEMON_SHUTDOWN",
    ]
    for (number, name) in names {
      let found = try #require(
        ProcedureTable.find(program: Program.admin, procedure: number))
      #expect("\(found.name)" == name)
    }
  }

  @Test("virt-admin's recorded calls are parsed, and encoded to the same bytes")
  func recording() throws {
    let expected: [AdminCall] = [
      .open(flags: 0), .lookUpServer("virtproxyd", flags: 0),
      .listClients(server: "virtproxyd", wantsList: true, flags: 0), .close,
    ]
    let bytes = try Golden.bytes("14-admin-srv-clients-list.c2s")
    var found: [AdminCall] = []
    for row in try Golden.rows() where row.file == "14-admin-srv-clients-list.c2s" {
      var header = try #require(row.header)
      let packet = bytes[row.offset..<row.offset + row.length]
      let call = try #require(try read(header.procedure, packet.dropFirst(Limits.header)))
      found.append(call)
      header.length = 0
      #expect(Packets.make(header, arguments: call.arguments) == Array(packet), "\(row)")
    }
    #expect(found == expected)
    let answers = try Golden.bytes("14-admin-srv-clients-list.s2c")
    #expect(try AdminServer.read(answers[56..<72]) == AdminServer(name: "virtproxyd"))
    #expect(
      try AdminList<AdminClient>.read(answers[100..<108]) == AdminList([], wantsElements: true))
  }

  @Test("more typed parameters than libvirt allows are refused")
  func counts() throws {
    func call(_ count: Int) -> AdminCall {
      .setClientLimits(
        server: "admin", Array(repeating: Self.parameters[0], count: count), flags: 0)
    }
    #expect(try read(13, call(32).arguments) == call(32))
    #expect(throws: Violation.self) { try read(13, call(33).arguments) }
  }

  @Test(
    "each of the broker's own calls has its number and survives encoding and parsing",
    arguments: [
      BrokerCall.status, .clients(after: 1), .calls(after: 1 << 40), .streams(after: .max),
      .endStream(client: 3, serial: .max, reason: "too much"), .rates(after: 7),
      .setRate(kind: "upload", identity: nil, rate: "10M"),
      .setRate(kind: "console", identity: "joe@EXAMPLE.COM", rate: "off"),
      .drain(seconds: nil), .drain(seconds: 0), .drain(seconds: 86400),
    ])
  func own(call: BrokerCall) throws {
    func read(_ procedure: Int32, _ bytes: some Collection<UInt8>) throws -> BrokerCall? {
      try Array(bytes).withUnsafeBytes { try BrokerCall(procedure: procedure, body: $0) }
    }
    let bytes = call.arguments
    #expect(try read(call.procedure, bytes) == call)
    for count in 0..<bytes.count {
      #expect(throws: Violation.self) { try read(call.procedure, bytes.prefix(count)) }
    }
    #expect(try read(9, bytes) == nil)
    let long = BrokerCall.endStream(
      client: 1, serial: 1, reason: String(repeating: "x", count: BrokerCall.reasonLimit + 1))
    #expect(throws: Violation.self) { try read(long.procedure, long.arguments) }
  }
}
