// SIGTERM: replies under way are delivered, no new client is accepted, and the broker exits cleanly.
import Foundation
import Streams
import Testing

@Suite("Stopping")
struct StopTests {
  @Test("a reply under way still arrives, then the connection ends", arguments: Way.allCases)
  func replyInFlight(way: Way) async throws {
    let scene = try await Scene.holding()
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let idle = try broker.client(way)
      try idle.open()
      let call = client.header(59)
      try client.send(Packets.make(call))
      try scene.held.await(1)

      broker.signal(SIGTERM)
      #expect(try idle.awaitEnd().isEmpty, "a client without work is let go at once")
      #expect(broker.isRunning, "the call in flight is waited for")
      #expect(throws: Trouble.self, "nobody else is let in") { try broker.client(way).open() }
      try scene.held.answer(GetURIResult(uri: "late"))
      let reply = try client.receive("the late reply") { $0.answers(call.serial) }
      #expect(reply.decoded(GetURIResult.self)?.uri == "late")
      #expect(try client.awaitEnd().isEmpty)
    }
    #expect(try await broker.awaitEnd() == 0)
    withExtendedLifetime(scene) {}
  }

  @Test("a call without a reply does not prevent the broker from stopping")
  func silentBackend() async throws {
    let held = Held()
    let scene = try await Scene(held: held) { line, call in
      _ = held.keep(line, call)
      return true
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      try client.send(Packets.make(client.header(59)))
      try scene.held.await(1)
      // And a client whose daemon does not answer CONNECT_CLOSE.
      let closing = try broker.client()
      try closing.open()
      try closing.send(Packets.make(closing.header(Remote.connectClose)))
      try scene.backend.line(1).await("CONNECT_CLOSE") {
        $0.contains { $0.header.procedure == Remote.connectClose }
      }
      let began = Date()
      broker.signal(SIGTERM)
      #expect(try client.awaitEnd().isEmpty)
      #expect(eventually { !broker.isRunning })
      #expect(Date().timeIntervalSince(began) < 5, "a daemon is gone within 5 s of SIGTERM")
    }
    #expect(try await broker.awaitEnd() == 0)
    withExtendedLifetime(scene) {}
  }

  @Test("after a second SIGTERM the broker stops at once")
  func twice() async throws {
    let scene = try await Scene.holding()
    let broker = scene.broker
    try await blocking {
      let (client, idle) = (try broker.client(), try broker.client())
      try client.open()
      try idle.open()
      try client.send(Packets.make(client.header(59)))
      try scene.held.await(1)
      broker.signal(SIGTERM)
      _ = try idle.awaitEnd()
      broker.signal(SIGTERM)
      #expect(try client.awaitEnd().isEmpty)
    }
    #expect(try await broker.awaitEnd() == 0)
    withExtendedLifetime(scene) {}
    #expect(!broker.log.contains("VB-RUN-033"), "the time for replies was cut short")
  }
}
