// Liveness of a client's connection: who is asked, who is answered, and who is dropped.
import Foundation
import Streams
import Testing

@Suite("Keepalive")
struct KeepAliveTests {
  /// One second, so that the tests do not take long; and two PINGs may go unanswered.
  static let settings = [
    "keepalive_interval = 1", "keepalive_count = 2", "max_client_requests = 3",
  ]

  /// A broker in front of a backend that keeps calls to itself.
  static func scene() async throws -> Scene { try await .holding(settings: settings) }

  @Test(
    "a silent client that probed it gets its PINGs, then the connection ends",
    arguments: Way.allCases)
  func silent(way: Way) async throws {
    let scene = try await Self.scene()
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(way)
      let start = ContinuousClock.now
      try client.wantKeepAlive()
      try client.open()
      let packets = try client.awaitEnd()
      let elapsed = ContinuousClock.now - start
      #expect(packets.count == 2 && packets.allSatisfy(\.isPing))
      // interval × (count + 1), and never before that; the loop's clock may be a little behind this one.
      #expect(elapsed >= .seconds(2.9))
      try scene.backend.line(0).awaitEnd()
    }
    #expect(eventually { broker.log.contains("keepalive_count 2") }, "the log gives the reason")
    try await scene.end()
  }

  @Test("a client that answers, or just calls now and then, stays", arguments: Way.allCases)
  func lively(way: Way) async throws {
    let scene = try await Self.scene()
    let (broker, held) = (scene.broker, scene.held)
    try await blocking {
      let ponging = try broker.client(way)
      let calling = try broker.client(way)
      for client in [ponging, calling] {
        try client.wantKeepAlive()
        try client.open()
      }
      // Twice the time after which a silent client is dropped.
      for _ in 0..<6 {
        _ = try ponging.receive("a PING", where: \.isPing)
        try ponging.send(Packets.keepAlive(KeepAliveProcedure.pong))
        // Received bytes are a sign of life whatever they are: this call is not even answered.
        try calling.send(Packets.make(calling.header(1, kind: .message)))
      }
      for client in [ponging, calling] {
        let call = client.header(59)
        try client.send(Packets.make(call))
        try held.await(1)
        try held.answer()
        _ = try client.receive("the reply") { $0.answers(call.serial) }
      }
    }
    try await scene.end()
  }

  @Test("a client that never probed it gets no PING and is not dropped", arguments: Way.allCases)
  func unasked(way: Way) async throws {
    let scene = try await Self.scene()
    let (broker, held) = (scene.broker, scene.held)
    try await blocking {
      let (opened, fresh) = (try broker.client(way), try broker.client(way))
      try opened.open()
      #expect(opened.receiveAll(for: 5).isEmpty)
      #expect(fresh.receiveAll(for: 0).isEmpty)
      let call = opened.header(59)
      try opened.send(Packets.make(call))
      try held.await(1)
      try held.answer()
      _ = try opened.receive("the reply") { $0.answers(call.serial) }
      try fresh.open()
    }
    try await scene.end()
  }

  @Test("a PING is answered from the first byte on", arguments: Way.allCases)
  func answered(way: Way) async throws {
    let scene = try await Self.scene()
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(way)
      let ping = Packets.keepAlive(KeepAliveProcedure.ping)
      try client.send(ping)
      #expect(try client.receive()?.isPong == true)
      try client.open()
      try client.send(ping + ping)
      #expect(try client.receive()?.isPong == true)
      #expect(try client.receive()?.isPong == true)
    }
    try await scene.end()
  }

  @Test(
    "a PING is answered while calls are held back at max_client_requests", arguments: Way.allCases)
  func heldBack(way: Way) async throws {
    let scene = try await Self.scene()
    let (broker, held) = (scene.broker, scene.held)
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      var calls: [PacketHeader] = []
      for _ in 0..<10 {
        calls.append(client.header(59))
        try client.send(Packets.make(calls[calls.count - 1]))
      }
      try held.await(3)
      for _ in 0..<3 {
        try client.send(Packets.keepAlive(KeepAliveProcedure.ping))
        #expect(try client.receive()?.isPong == true)
      }
      // The handshake of three calls, and no more calls than the limit.
      #expect(try scene.backend.line(0).received.count { $0.header.procedure == 59 } == 3)
      for call in calls {
        try held.await(1)
        try held.answer()
        _ = try client.receive("the reply to call \(call.serial)") { $0.answers(call.serial) }
      }
      #expect(client.receiveAll(for: 0.2).isEmpty, "each PING was answered once")
    }
    try await scene.end()
  }

  @Test(
    "a client whose calls are held back sees PINGs and is not dropped for a slow backend",
    arguments: Way.allCases)
  func paused(way: Way) async throws {
    // This client answers no PING while it prepares, which on a busy machine takes a while.
    let scene = try await Scene.holding(
      settings: ["keepalive_interval = 3", "keepalive_count = 2", "max_client_requests = 3"])
    let (broker, held) = (scene.broker, scene.held)
    try await blocking {
      let client = try broker.client(way)
      try client.wantKeepAlive()
      try client.open()
      let calls = (0..<3).map { _ in client.header(59) }
      for call in calls { try client.send(Packets.make(call)) }
      try held.await(3)
      // Behind them more than is read ahead, so that the client is not read any more: a PONG could not
      // arrive.
      let zeros = [UInt8](repeating: 0, count: Limits.packet - Limits.header)
      let bytes = RawClient.packet(client.header(59), zeros)
      var sent = 0
      #expect(
        try eventually {
          sent += try client.sendSome(bytes[sent...])
          return !client.wait(for: POLLOUT, until: Date(timeIntervalSinceNow: 0.5))
        })
      #expect(sent < bytes.count)
      // One more than a client that could have answered would get.
      for _ in 0..<3 { _ = try client.receive("a PING", where: \.isPing) }
      // It was alive all the time: the backend answers, and everything goes on.
      for call in calls {
        try held.answer()
        _ = try client.receive("a reply") { $0.answers(call.serial) }
      }
    }
    try await scene.end()
  }

  @Test("a client whose upload is taken slowly but steadily sees that the broker lives")
  func slowlyRead() async throws {
    let settings = [
      "keepalive_interval = 1", "keepalive_count = 5", "max_client_buffer = \(128 << 10)",
    ]
    let message = 16 << 10
    let scene = try await Scene(settings: settings) { _, packet in
      guard packet.header.kind == .stream, packet.header.status == .continue else { return false }
      usleep(UInt32(message * 1_000_000 / (192 << 10)))
      return true
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(.tcp)
      try client.wantKeepAlive()
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      let sender = LivelySender(
        client, RawClient.packet(stream, [UInt8](repeating: 1, count: message)),
        interval: 1, count: 5)
      // Something of it is read several times a second. Its own PINGs stand behind what TCP's buffers hold, for
      // longer than it waits for a sign of life.
      try sender.run(seconds: 12)
      #expect(sender.pings > 0)
    }
    try await scene.end()
  }
}
