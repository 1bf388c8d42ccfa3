// virtbroker drain: no new clients, and the end with the last one.
import Foundation
import Streams
import Testing

@Suite("Draining")
struct DrainTests {
  /// A backend that holds calls to read the URI, serves streams and answers everything else with an empty reply.
  private func scene() async throws -> Scene {
    let held = Held()
    return try await Scene(held: held) { line, packet in
      packet.header.procedure == 59 && held.keep(line, packet)
    }
  }

  private func isAccepting(_ broker: BrokerProcess, _ way: Way) -> Bool {
    (try? broker.client(way).open()) != nil
  }

  @Test(
    "clients with a stream, a close callback or a call continue, an idle one is closed, and the last one ends the broker"
  )
  func continues() async throws {
    let scene = try await scene()
    let broker = scene.broker
    let tool = Tool(broker: broker)
    let (idle, streaming, registered, calling) = try await blocking {
      let clients = try (0..<4).map { _ in
        let client = try broker.client()
        try client.open()
        return client
      }
      return (clients[0], clients[1], clients[2], clients[3])
    }
    let (stream, call) = try await blocking {
      let stream = try streaming.openStream(
        Remote.storageVolDownload, pool: "pool", volume: "disk.img")
      #expect(try registered.call(Remote.connectRegisterCloseCallback).header.status == .ok)
      let call = calling.header(59)
      try calling.send(Packets.make(call))
      try scene.held.await(1)
      return (stream, call)
    }

    let drain = try await tool.run("drain")
    #expect(drain.status == 0)
    // The idle client has sent its last call just now, or 5 s ago on a busy machine.
    let outputs = [
      "Draining: 4 clients continue, 0 idle clients were closed.\n",
      "Draining: 3 clients continue, 1 idle client was closed.\n",
    ]
    #expect(outputs.contains(drain.output), "\(drain.output)")
    #expect(broker.logs("VB-RUN-040", "4 clients"))
    #expect(!isAccepting(broker, .unix) && !isAccepting(broker, .tcp))
    #expect(!FileManager.default.fileExists(atPath: broker.directory + "/libvirt-sock"))
    #expect(try await blocking { try idle.awaitEnd(within: 10).isEmpty })
    #expect(eventually { broker.logs("VB-CLI-016") })

    let again = try await tool.run("drain")
    #expect(again.output == "Draining: 3 clients continue, 0 idle clients were closed.\n")
    #expect(try await tool.rows("clients").count == 3)
    let status = try #require(try await tool.json("status") as? [String: Any])
    #expect(status["draining"] as? Bool == true && status["stopping"] as? Bool == false)

    try await blocking {
      let data = RawClient.packet(stream, [UInt8](repeating: 1, count: 100_000))
      let line = try scene.backend.line(1)
      try line.send(data)
      #expect(try streaming.receive()?.body.count == 100_000)
      try scene.held.answer(GetURIResult(uri: "late"))
      _ = try calling.receive("the late reply") { $0.answers(call.serial) }
      #expect(try registered.call(4).header.status == .ok)
      calling.vanish()
      streaming.vanish()
      #expect(broker.isRunning)
      registered.vanish()
    }
    #expect(try await broker.awaitEnd() == 0)
    #expect(broker.logs("VB-RUN-043") && !broker.log.contains("VB-RUN-032"))
    withExtendedLifetime(scene) {}
  }

  @Test("a client that has been quiet for 5 s is closed at once, and the drain reports it")
  func idleAtOnce() async throws {
    let scene = try await scene()
    let broker = scene.broker
    let tool = Tool(broker: broker)
    let client = try await blocking {
      let client = try broker.client()
      try client.open()
      #expect(client.receiveAll(for: 5.2).isEmpty)
      return client
    }
    let drain = try await tool.run("drain", "--wait", "--json")
    #expect(drain.status == 0)
    #expect(drain.output == "{\"clients\": 0, \"idle_closed\": 1}\n")
    #expect(try await blocking { try client.awaitEnd().isEmpty })
    #expect(try await broker.awaitEnd() == 0)
    #expect(broker.logs("VB-RUN-041", "1 idle client") && broker.logs("VB-RUN-043"))
    withExtendedLifetime(scene) {}
  }

  @Test("when the time is up the broker stops, whatever its clients do, and --wait ends then")
  func timeout() async throws {
    let scene = try await scene()
    let broker = scene.broker
    let tool = Tool(broker: broker)
    let client = try await blocking {
      let client = try broker.client()
      try client.open()
      try client.send(Packets.make(client.header(59)))
      try scene.held.await(1)
      return client
    }
    #expect(try await tool.run("drain", "--timeout", "3600").status == 0)
    let waiting = try await tool.run("drain", "--timeout", "1", "--wait")
    #expect(waiting.status == 0)
    #expect(waiting.output == "Draining: 1 client continues, 0 idle clients were closed.\n")
    #expect(try await broker.awaitEnd() == 0)
    for identifier in ["VB-RUN-042", "VB-RUN-044", "VB-RUN-032"] {
      #expect(broker.logs(identifier), "\(identifier)")
    }
    #expect(try await blocking { try client.awaitEnd().isEmpty })
    withExtendedLifetime(scene) {}
  }

  @Test("TERM stops a draining broker, which then refuses to drain")
  func stop() async throws {
    let scene = try await scene()
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      try client.send(Packets.make(client.header(59)))
      try scene.held.await(1)
      let administrator = try broker.admin.client()
      #expect(
        try administrator.call(.drain(seconds: 86_401)).error?.message?.contains("86400") == true)
      #expect(try administrator.call(.drain(seconds: nil)).header.status == .ok)
      broker.signal(SIGTERM)
      #expect(eventually { broker.logs("VB-RUN-032") })
      let refused = try administrator.call(.drain(seconds: nil))
      #expect(refused.error?.message?.contains("already stopping") == true)
      try scene.held.answer(GetURIResult(uri: "late"))
      #expect(try client.awaitEnd().count == 1)
    }
    #expect(try await broker.awaitEnd() == 0)
    withExtendedLifetime(scene) {}
  }

  @Test(
    "a time limit out of range is refused with the option and the range",
    arguments: ["-1", "86401"])
  func range(value: String) async throws {
    let result = try await Command([Tool.executable, "drain", "--timeout=\(value)"]).run()
    #expect(result.status == 64)
    #expect(result.errors.contains("--timeout") && result.errors.contains("86400"))
  }
}

@Suite("Draining in front of libvirtd", Lab.isPossible)
struct RealDrainTests {
  @Test("a download, a console and a client that awaits events continue until they leave")
  func continues() async throws {
    let lab = try await Lab.shared(.mono, for: "draining")
    let broker = try await BrokerProcess.start(in: lab)
    try await lab.guest("drained")
    try await lab.pool("drained")
    _ = try await python(
      "drain.py",
      [
        broker.unixURI(), lab.directURI(), Tool.executable, broker.admin.path, "drained", "drained",
      ])
    #expect(try await broker.awaitEnd() == 0)
    #expect(broker.logs("VB-RUN-043"))
  }
}
