// A backend whose connection ends in the middle of a packet, which hardly ever happens with a real one.
import Foundation
import Streams
import Testing

@Suite("A backend whose connection breaks")
struct BrokenBackendTests {
  /// Clients whose backend is lost are not kept.
  private static let closing = ["upstream_reconnect = \"never\""]

  @Test(
    "in the middle of a reply: the client gets an error and no part of the reply",
    arguments: Way.allCases
  )
  func reply(way: Way) async throws {
    let scene = try await Scene(settings: Self.closing) { line, call in
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
      #expect(try client.awaitEnd().isEmpty)
    }
    try await scene.end()
  }

  @Test(
    "in the middle of a packet that is cut through: the client's connection ends, because no valid packet can follow",
    arguments: Way.allCases)
  func largeReply(way: Way) async throws {
    let scene = try await Scene(settings: Self.closing) { line, call in
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

  @Test(
    "an invalid packet from a backend affects only that backend's client", arguments: Way.allCases)
  func nonsense(way: Way) async throws {
    let scene = try await Scene(settings: Self.closing) { line, call in
      if call.header.procedure == 59 { return false }
      try line.send([UInt8](repeating: 0xff, count: 64))
      return true
    }
    let broker = scene.broker
    try await blocking {
      let (client, other) = (try broker.client(way), try broker.client(way))
      for client in [client, other] { try client.open() }
      #expect(try client.call(157).error?.message?.contains("libvirtd") == true)
      #expect(try client.awaitEnd().isEmpty)
      #expect(try other.call(59).header.status == .ok)
    }
    try await scene.end()
  }

  @Test(
    "before it has confirmed an upload: the broker does not confirm it", arguments: Way.allCases
  )
  func unconfirmed(way: Way) async throws {
    let scene = try await Scene(settings: Self.closing) { line, packet in
      // The backend accepts all data and hangs up at the finish.
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
    "during an upload: the broker reads and drops the client's data until the client has seen the error",
    arguments: Way.allCases)
  func uploading(way: Way) async throws {
    let scene = try await Scene(settings: Self.closing) { _, packet in packet.header.kind == .stream
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      let line = try scene.backend.line(0)
      line.isPausing = true
      let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: Limits.usualPayload))
      // Until the broker stops reading.
      var left = packet[...]
      while client.wait(for: POLLOUT, until: Date(timeIntervalSinceNow: 0.5)) {
        left = left.dropFirst(try client.sendSome(left))
        if left.isEmpty { left = packet[...] }
      }
      line.hangUp()
      try client.send(left)
      for _ in 0..<40 { try client.send(packet) }
      let end = try client.receive("the failure of the stream") { $0.header.kind == .stream }
      #expect(end.error?.message?.contains("libvirtd") == true, "\(end)")
      #expect(try client.awaitEnd().isEmpty)
    }
    try await scene.end()
  }

  @Test("a client that reads slowly gets all its queued data, and then the error")
  func slowReader() async throws {
    let scene = try await Scene(settings: Self.closing) { line, call in
      guard call.header.procedure == Remote.storageVolDownload else { return false }
      try line.reply(to: call)
      var data = call.header
      data.kind = .stream
      data.status = .continue
      for _ in 0..<Self.queued {
        try line.send(RawClient.packet(data, [UInt8](repeating: 1, count: Limits.usualPayload)))
      }
      line.hangUp()
      return true
    }
    let broker = scene.broker
    try await blocking {
      let client = try broker.client(.tcp)
      var size = Int32(16 * 1024)
      setsockopt(
        client.descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
      try client.open()
      let stream = try client.openStream(Remote.storageVolDownload, pool: "p", volume: "v")
      // So slowly that the broker's time limit passes more than once between the first and the last byte.
      var bytes = 0
      while let packet = try client.receive() {
        guard packet.header.status == .continue else {
          #expect(packet.header.serial == stream.serial && packet.header.status == .error)
          break
        }
        bytes += packet.body.count
        usleep(1_500_000)
      }
      #expect(bytes == Self.queued * Limits.usualPayload)
      #expect(try client.awaitEnd().isEmpty)
    }
    try await scene.end()
  }

  /// Packets of a download, below the watermark at which the broker pauses the daemon.
  static let queued = 8

  @Test(
    "during CONNECT_OPEN: the call fails and can be repeated", arguments: Way.allCases)
  func opening(way: Way) async throws {
    let scene = try await Scene(settings: Self.closing) { _, _ in false }
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
