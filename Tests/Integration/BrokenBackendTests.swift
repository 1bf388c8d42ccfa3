// A backend whose connection breaks where a real one hardly ever does: inside a packet.
import Foundation
import Streams
import Testing

@Suite("A backend that breaks off")
struct BrokenBackendTests {
  @Test(
    "inside a reply: the client gets none of it, but an error in its place", arguments: Way.allCases
  )
  func reply(way: Way) async throws {
    let scene = try await Scene { line, call in
      let reply = Packets.reply(
        answering: call.header, GetURIResult(uri: String(repeating: "x", count: 100_000)))
      try line.send(Array(reply[..<70_000]))
      line.hangUp()
      return true
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let reply = try client.call(59)
      #expect(reply.error?.message?.contains("libvirtd") == true)
      #expect(try client.call(Remote.authList).header.status == .ok)
    }
    try await scene.end()
  }

  @Test(
    "inside a packet too large to be held: the client's connection ends, for nothing honest can follow",
    arguments: Way.allCases)
  func largeReply(way: Way) async throws {
    let scene = try await Scene { line, call in
      let reply = Packets.reply(
        answering: call.header, GetURIResult(uri: String(repeating: "x", count: 4_000_000)))
      try line.send(Array(reply[..<3_000_000]))
      line.hangUp()
      return true
    }
    let broker = scene.broker
    try await blocking {
      let (client, other) = (try broker.client(way), try broker.client(way))
      try client.open()
      try client.send(Packets.make(client.header(59)))
      #expect(try client.awaitEnd().isEmpty, "not even a part of the reply is taken for one")
      #expect(try other.call(Remote.authList).header.status == .ok)
    }
    try await scene.end()
  }

  @Test("with a packet no daemon sends: its client is told, and no other", arguments: Way.allCases)
  func nonsense(way: Way) async throws {
    let scene = try await Scene { line, call in
      if call.header.procedure == 59 { return false }
      try line.send([UInt8](repeating: 0xff, count: 64))
      return true
    }
    let broker = scene.broker
    try await blocking {
      let (client, other) = (try broker.client(way), try broker.client(way))
      for client in [client, other] { try client.open() }
      #expect(try client.call(157).error?.message?.contains("libvirtd") == true)
      #expect(try other.call(59).header.status == .ok)
    }
    try await scene.end()
  }

  @Test(
    "after an upload it never confirmed: it is not confirmed by the broker", arguments: Way.allCases
  )
  func unconfirmed(way: Way) async throws {
    let scene = try await Scene { line, packet in
      // Everything is taken, and the finish is answered with death.
      if packet.header.kind == .stream, packet.header.status == .ok { line.hangUp() }
      return packet.header.kind == .stream
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      for _ in 0..<20 {
        try client.send(RawClient.packet(stream, [UInt8](repeating: 1, count: Limits.usualPayload)))
      }
      let end = try client.end(stream)
      #expect(end.header.status == .error)
      #expect(end.error?.message?.contains("libvirtd") == true)
      #expect(try scene.backend.line(0).receivedBytes > 20 * Limits.usualPayload)
    }
    try await scene.end()
  }

  @Test(
    "while it is being opened: CONNECT_OPEN fails, and can be tried again", arguments: Way.allCases)
  func opening(way: Way) async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    try await blocking {
      scene.backend.refusesNext = true
      let client = try broker.client(way)
      try client.call(Remote.authList)
      let open = ConnectOpenArguments(name: "qemu:///system", flags: 0)
      let refusal = try client.call(Remote.connectOpen, open)
      #expect(refusal.error?.message?.contains("libvirtd") == true)
      #expect(try client.call(Remote.connectOpen, open).header.status == .ok)
      #expect(try client.call(59).header.status == .ok)
    }
    try await scene.end()
  }
}
