// Keepalive on client connections: which clients get PINGs, which PINGs are answered, and which clients are dropped.
import Foundation
import Streams
import Testing

@Suite("Keepalive")
struct KeepAliveTests {
  /// An interval of one second, so that the tests are fast; two PINGs may stay unanswered.
  static let settings = [
    "keepalive_interval = 1", "keepalive_count = 2", "max_client_requests = 3",
  ]

  /// A broker in front of a backend that holds calls without a reply.
  static func scene() async throws -> Scene { try await .holding(settings: settings) }

  @Test(
    "a silent client that has sent a PING gets PINGs, then its connection ends",
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
      // interval × (count + 1), and not before; the loop's clock may be slightly behind this one.
      #expect(elapsed >= .seconds(2.9))
      try scene.backend.line(0).awaitEnd()
    }
    #expect(eventually { broker.log.contains("keepalive_count 2") }, "the log gives the reason")
    try await scene.end()
  }

  @Test("a client that answers PINGs, or only makes calls, is not dropped", arguments: Way.allCases)
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
        // Any received bytes show that the peer is alive, even a packet that is not answered.
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

  @Test("a client that never sent a PING gets none and is not dropped", arguments: Way.allCases)
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

  @Test("a PING is answered from the first byte of the connection", arguments: Way.allCases)
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
    "a PING is answered while calls wait at max_client_requests", arguments: Way.allCases)
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
      // The three calls of the limit have reached the backend, and no others.
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
    "a client whose calls wait gets PINGs and is not dropped because of a slow backend",
    arguments: Way.allCases)
  func paused(way: Way) async throws {
    // This client answers no PING during the setup, which may take a while on a busy machine.
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
      // Then more than the read-ahead watermark, so that the client is not read: a PONG could not be received.
      let zeros = [UInt8](repeating: 0, count: Limits.packet - Limits.header)
      let bytes = RawClient.packet(client.header(59), zeros)
      var sent = 0
      #expect(
        try eventually {
          sent += try client.sendSome(bytes[sent...])
          return !client.wait(for: POLLOUT, until: Date(timeIntervalSinceNow: 0.5))
        })
      #expect(sent < bytes.count)
      // One more than a client with an unanswered PING would get.
      for _ in 0..<3 { _ = try client.receive("a PING", where: \.isPing) }
      // The connection is alive: the backend answers, and the replies arrive.
      for call in calls {
        try held.answer()
        _ = try client.receive("a reply") { $0.answers(call.serial) }
      }
    }
    try await scene.end()
  }

  @Test("a client whose upload is read slowly but steadily gets PINGs from the broker")
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
      // The broker reads a part several times a second. The client's own PINGs are behind the data in TCP's buffers
      // for longer than the client's keepalive limit.
      try sender.run(seconds: 12)
      #expect(sender.pings > 0)
    }
    try await scene.end()
  }
}
