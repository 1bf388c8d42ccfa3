// Before authentication: what an unauthenticated client may do, and that it does not disturb others.
import Foundation
import Streams
import Testing

@Suite("Unauthenticated clients", .inTurn)
struct LoginTests {
  private static let settings = ["auth_unix_rw = \"sasl\"", "auth_tcp = \"sasl\""]

  /// A broker that requires SASL on its read-write socket and TCP, and nothing on the read-only socket.
  private func scene(_ settings: [String] = []) async throws -> Scene {
    try await Scene(
      settings: Self.settings + settings, realm: try await PasswordRealm.make("PLAIN DIGEST-MD5"))
  }

  @Test("an unauthenticated client may only authenticate")
  func refused() async throws {
    let scene = try await scene()
    let broker = scene.broker
    try await blocking {
      for way in Way.allCases {
        let client = try broker.client(way)
        let required = "authentication required"
        for procedure in (1...443).map(Int32.init) where !(66...70).contains(procedure) {
          guard
            let known = ProcedureTable.find(program: Program.remote, procedure: procedure),
            !known.isEvent
          else { continue }
          let call = client.header(procedure)
          let reply = try client.call(
            call, RawClient.packet(call, [UInt8](repeating: 0, count: 64)))
          #expect(reply.error?.message == required && reply.error?.code == .rpc, "\(procedure)")
        }
        #expect(try client.call(1, program: Program.qemu).error?.message == required)
        #expect(try client.call(100_000).error?.message == "unknown procedure: 100000")
        #expect(try client.call(Remote.authPolkit).error?.code == .internalError)
        #expect(scene.backend.lines.isEmpty, "no backend has heard of it")
        // A PING is answered before authentication too.
        try client.send(Packets.keepAlive(KeepAliveProcedure.ping))
        #expect(try client.receive()?.isPong == true)
      }
      let client = try broker.client()
      try client.mustLogIn()
      try client.open()
    }
    try await scene.end()
  }

  @Test(
    "every failed authentication gets the same error, and the client may try again on the same connection"
  )
  func wrong() async throws {
    let scene = try await scene()
    let broker = scene.broker
    try await blocking {
      let failed = "authentication failed: authentication failed"
      func start(_ mechanism: String, _ data: [UInt8]?) -> SASLStartArguments {
        SASLStartArguments(mechanism: mechanism, data: SASLData(data))
      }
      let starts = [
        start("PLAIN", []), start("PLAIN", [0]), start("PLAIN", [0xff, 0xfe]),
        start("PLAIN", Array("\0fred\0guess".utf8)), start("GSSAPI", nil), start("", nil),
        start("PLAIN\n2026 forged: line", nil), start(String(repeating: "M", count: 100_000), nil),
        start("PLAIN", [UInt8](repeating: 65, count: 50_000)),
        start("PLAIN", Array("\0fr\u{1b}[31m\n\0guess".utf8)),
      ]
      for arguments in starts {
        let client = try broker.client()
        #expect(try client.call(Remote.authSASLInit).header.status == .ok)
        let reply = try client.call(Remote.authSASLStart, arguments)
        #expect(reply.error?.message == failed, "\(arguments.mechanism.prefix(20))")
        #expect(try client.call(Remote.authSASLStep, SASLData([1])).error?.message == failed)
        try client.mustLogIn()
        try client.open()
      }
      // Calls out of order.
      let client = try broker.client()
      #expect(try client.call(Remote.authSASLStep, SASLData(nil)).error?.message == failed)
      #expect(
        try client.call(Remote.authSASLStart, start("PLAIN", nil)).error?.message == failed)
      #expect(try client.call(Remote.authSASLInit).header.status == .ok)
      #expect(try client.call(Remote.authSASLInit).error?.message == failed)
      try client.mustLogIn()
      #expect(try client.call(Remote.authSASLInit).error?.message == failed, "once is enough")
      #expect(
        try client.call(Remote.authSASLStart, start("PLAIN", nil)).error?.message == failed)
      try client.open()
    }
    #expect(
      eventually { broker.log.contains("chose 'PLAIN\\u{a}2026 forged: line'") },
      "what a client says stays on its line")
    let log = broker.log
    #expect(!log.contains("\u{1b}") && !log.contains("guess"))
    try await scene.end()
  }

  @Test("a client that fails too often is disconnected")
  func often() async throws {
    let scene = try await scene()
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      var count = 0
      while count < 100, let reply = try? client.logIn("fred", "guess") {
        #expect(reply.error?.code == .authenticationFailed)
        count += 1
      }
      #expect(count == 8)
      #expect(try client.awaitEnd().isEmpty)
    }
    try await scene.end()
  }

  @Test(
    "malformed SASL calls fail or end their connection, and affect no other client")
  func malformed() async throws {
    let scene = try await scene()
    let broker = scene.broker
    try await blocking {
      let bystander = try broker.client()
      try bystander.mustLogIn()
      try bystander.open()
      let start = PlainLogin.start("fred", "secret").encoded
      for procedure in [Remote.authSASLStart, Remote.authSASLStep] {
        var bodies = (0..<start.count).map { Array(start[..<$0]) }
        bodies.append([UInt8](repeating: 0xff, count: 64))
        bodies.append([0, 0, 0, 1, 0, 1, 0, 1] + [UInt8](repeating: 0, count: 300))
        for body in bodies {
          let client = try broker.client()
          #expect(try client.call(Remote.authSASLInit).header.status == .ok)
          let call = client.header(procedure)
          let reply = try client.call(call, RawClient.packet(call, body))
          #expect(reply.header.status == .error, "\(procedure) with \(body.count) bytes")
        }
      }
      // A packet larger than any authentication needs.
      let client = try broker.client()
      var header = client.header(Remote.authSASLStart)
      header.length = 1 << 20
      let large = RawClient.words(header) + [UInt8](repeating: 0, count: (1 << 20) - 28)
      #expect(try client.call(header, large).header.status == .error)
      #expect(try bystander.call(59).header.status == .ok)
    }
    try await scene.end()
  }

  @Test("a client that disconnects at any byte of an authentication leaves nothing behind")
  func cut() async throws {
    let scene = try await scene(["max_anonymous_clients = 0"])
    let broker = scene.broker
    try await blocking {
      let before = settledDescriptorCount(of: broker.pid)
      let packets = [
        Packets.make(PacketHeader(procedure: Remote.authList, kind: .call, serial: 0)),
        Packets.make(PacketHeader(procedure: Remote.authSASLInit, kind: .call, serial: 1)),
        Packets.make(
          PacketHeader(procedure: Remote.authSASLStart, kind: .call, serial: 2),
          PlainLogin.start("fred", "secret")),
      ]
      let bytes = packets.flatMap { $0 }
      for count in 0...bytes.count {
        let client = try broker.client()
        try client.send(bytes[..<count])
        if count % 2 == 0 { client.vanish() }
      }
      // Here the client waits for each reply, so that each step is under way or done when it disconnects.
      for last in 0..<3 {
        for isAnswered in [false, true] {
          let client = try broker.client()
          for (index, packet) in packets[...last].enumerated() {
            try client.send(packet)
            if index < last || isAnswered { _ = try client.receive() }
          }
          client.vanish()
        }
      }
      #expect(
        eventually { settledDescriptorCount(of: broker.pid) == before },
        "\(descriptorCount(of: broker.pid)) descriptors, \(before) before")
      let client = try broker.client()
      try client.mustLogIn()
      try client.open()
    }
    try await scene.end()
  }

  @Test("two hundred concurrent failures do not prevent others from working or authenticating")
  func manyFailing() async throws {
    let scene = try await scene()
    let broker = scene.broker
    let inside = try await blocking {
      let inside = try broker.client()
      try inside.mustLogIn()
      try inside.open()
      return inside
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<200 {
        group.addTask {
          try await blocking {
            let client = try broker.client()
            client.patience = 60
            // A third of them vanishes after the reply; the others close.
            let reply = try client.logIn("fred", "guess \(number)")
            #expect(reply.error?.code == .authenticationFailed)
            if number % 3 == 0 { client.vanish() }
          }
        }
      }
      group.addTask {
        try await blocking {
          for _ in 0..<200 { #expect(try inside.call(59).header.status == .ok) }
          // The read-only socket is another listener and requires no authentication.
          for _ in 0..<20 { try broker.client(readOnly: true).open() }
          let late = try broker.client()
          late.patience = 60
          try late.mustLogIn()
          try late.open()
        }
      }
      try await group.waitForAll()
    }
    try await scene.end()
  }

  @Test(
    "above max_anonymous_clients connections wait only at the listener that requires authentication"
  )
  func anonymous() async throws {
    let scene = try await scene(["max_anonymous_clients = 2"])
    let broker = scene.broker
    try await blocking {
      var unauthenticated = [try broker.client(.unix), try broker.client(.unix)]
      for client in unauthenticated {
        #expect(try client.call(Remote.authList).header.status == .ok)
      }
      let waiting = try broker.client(.unix)
      try waiting.send(Packets.make(waiting.header(Remote.authList)))
      #expect(waiting.receiveAll(for: 0.3).isEmpty)
      // TCP and the read-only socket still accept clients.
      #expect(try broker.client(.tcp).call(Remote.authList).header.status == .ok)
      try broker.client(readOnly: true).open()
      // A client that authenticates makes space for another, and so does one that leaves.
      try unauthenticated[0].mustLogIn()
      #expect(try waiting.receive()?.header.status == .ok)
      let next = try broker.client(.unix)
      try next.send(Packets.make(next.header(Remote.authList)))
      #expect(next.receiveAll(for: 0.3).isEmpty)
      unauthenticated.removeLast()
      #expect(try next.receive()?.header.status == .ok)
    }
    #expect(eventually { broker.log.contains("max_anonymous_clients (2)") })
    try await scene.end()
  }

  @Test("a client that does not authenticate in time is disconnected, an authenticated one is not")
  func tooLong() async throws {
    let scene = try await scene(["auth_timeout = 1"])
    let broker = scene.broker
    try await blocking {
      let inside = try broker.client()
      try inside.mustLogIn()
      let silent = try broker.client(.tcp)
      let slow = try broker.client()
      #expect(try slow.call(Remote.authSASLInit).header.status == .ok)
      let failing = try broker.client()
      _ = try failing.logIn("fred", "guess")
      for client in [silent, slow, failing] { #expect(try client.awaitEnd().isEmpty) }
      try inside.open()
    }
    #expect(eventually { broker.logs("VB-AUTH-001", "1 s (auth_timeout)") })
    try await scene.end()
  }
}

@Suite("Limits per identity and address", .inTurn)
struct OwnLimitTests {
  @Test("max_clients_per_identity counts local users")
  func localUsers() async throws {
    let scene = try await Scene(settings: ["max_clients_per_identity = 2"]) { _, _ in false }
    let broker = scene.broker
    try await blocking {
      // The connection of the harness belongs to the same user and may not have closed yet.
      var inside: [RawClient] = []
      for isReadOnly in [false, true] {
        #expect(
          eventually {
            guard let client = try? broker.client(readOnly: isReadOnly),
              (try? client.call(Remote.authList))?.header.status == .ok
            else { return false }
            inside.append(client)
            return true
          })
      }
      for client in inside { try client.open() }
      let third = try broker.client()
      let error = try third.call(Remote.authList).error
      #expect(
        error?.message
          == "operation failed: too many connections: max_clients_per_identity (2) is reached by "
          + "'uid 0'")
      #expect(eventually { broker.logs("VB-LIM-010 VB-LIM-004: ", "'uid 0'") })
      #expect(try third.awaitEnd().isEmpty)
      // A client beyond the limit is disconnected also if it sends no call.
      #expect(try broker.client().awaitEnd().isEmpty)
      // TCP clients have no identity here.
      for _ in 0..<4 { try broker.client(.tcp).open() }
      inside.removeLast()
      #expect(eventually { (try? broker.client().open()) != nil }, "one that leaves makes room")
    }
    try await scene.end()
  }

  @Test("max_clients_per_identity counts SASL users by name")
  func namedUsers() async throws {
    let scene = try await Scene(
      settings: ["auth_unix_rw = \"sasl\"", "max_clients_per_identity = 1"],
      realm: try await PasswordRealm.make("PLAIN"))
    let broker = scene.broker
    try await blocking {
      let fred = try broker.client()
      try fred.mustLogIn()
      let joe = try broker.client()
      try joe.mustLogIn("joe", "other")
      let second = try broker.client()
      let error = try second.logIn().error
      let message = error?.message ?? ""
      #expect(message.contains("max_clients_per_identity (1) is reached by 'fred'"), "\(message)")
      #expect(try second.awaitEnd().isEmpty)
      try fred.open()
      try joe.open()
    }
    try await scene.end()
  }

  @Test("max_clients_per_address counts network addresses and no local clients")
  func addresses() async throws {
    let scene = try await Scene(settings: ["max_clients_per_address = 2"]) { _, _ in false }
    let broker = scene.broker
    try await blocking {
      func admitted() -> RawClient? {
        guard let client = try? broker.client(.tcp),
          (try? client.call(Remote.authList))?.header.status == .ok
        else { return nil }
        return client
      }
      // The connection of the harness over TCP may not have closed yet.
      var inside: [RawClient] = []
      #expect(
        eventually {
          if let client = admitted() { inside.append(client) }
          return inside.count == 2
        })
      let third = try broker.client(.tcp)
      #expect(
        try third.call(Remote.authList).error?.message
          == "operation failed: too many connections: max_clients_per_address (2) is reached by "
          + "127.0.0.1")
      #expect(eventually { broker.logs("VB-LIM-010 VB-LIM-003: ", "by 127.0.0.1") })
      #expect(try third.awaitEnd().isEmpty)
      for _ in 0..<4 { try broker.client().open() }
      inside.removeLast()
      #expect(eventually { admitted() != nil })
    }
    try await scene.end()
  }
}

@Suite("The identity that a backend gets", .inTurn)
struct IdentityTests {
  private func fields(_ line: Line) throws -> [TypedParameter] {
    try line.await("the identity") { packets in
      packets.contains { $0.header.procedure == Remote.connectSetIdentity }
    }
    let calls = line.received.filter { $0.header.procedure == Remote.connectSetIdentity }
    #expect(calls.count == 1, "it is told once")
    return calls.first?.decoded(SetIdentityArguments.self)?.parameters ?? []
  }

  @Test("for a local client it is the user, group and process known to the system")
  func local() async throws {
    let scene = try await Scene { _, _ in false }
    try await blocking {
      let client = try scene.broker.client()
      try client.open()
      let started = try String(contentsOfFile: "/proc/self/stat", encoding: .utf8)
        .split(separator: ")").last?.split(separator: " ")[19]
      let expected = [
        TypedParameter("user-name", .string(String(cString: getpwuid(getuid()).pointee.pw_name))),
        TypedParameter("unix-user-id", .ullong(UInt64(getuid()))),
        TypedParameter("group-name", .string(String(cString: getgrgid(getgid()).pointee.gr_name))),
        TypedParameter("unix-group-id", .ullong(UInt64(getgid()))),
        TypedParameter("process-id", .llong(Int64(getpid()))),
        TypedParameter("process-time", .ullong(UInt64(started ?? "") ?? 0)),
      ]
      let told = try fields(try scene.backend.line(0)).filter { $0.field != "selinux-context" }
      #expect(told == expected)
    }
    try await scene.end()
  }

  @Test("for a SASL client it is also the authenticated name, over any transport")
  func sasl() async throws {
    let scene = try await Scene(
      settings: ["auth_unix_rw = \"sasl\""], realm: try await PasswordRealm.make("PLAIN"))
    try await blocking {
      let client = try scene.broker.client()
      try client.mustLogIn("joe", "other")
      try client.open()
      let told = try fields(try scene.backend.line(0))
      #expect(told.contains(TypedParameter("sasl-user-name", .string("joe"))))
      #expect(told.contains(TypedParameter("process-id", .llong(Int64(getpid())))))
      // The broker does not forward what the client claims about itself.
      let claim = SetIdentityArguments(
        parameters: [TypedParameter("sasl-user-name", .string("root"))])
      #expect(try client.call(Remote.connectSetIdentity, claim).header.status == .ok)
      #expect(try client.call(59).header.status == .ok)
      #expect(try fields(try scene.backend.line(0)) == told)
    }
    try await scene.end()
  }

  @Test("for an anonymous TCP client it is empty")
  func anonymousTCP() async throws {
    let scene = try await Scene { _, _ in false }
    try await blocking {
      try scene.broker.client(.tcp).open()
      #expect(try fields(try scene.backend.line(0)).isEmpty)
    }
    try await scene.end()
  }
}
