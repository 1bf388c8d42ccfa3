// Which packets the relay forwards, and where, and which it drops.
import Testing

@testable import Simulator
@testable import Streams

@Suite("relay: packets")
struct RelayPacketTests {
  @Test("a forwarded packet is unchanged, also for procedures unknown to the broker")
  func untouched() {
    let harness = RelayHarness()
    let packets = [
      call(1, 3, [1, 2, 3, 4, 5]), call(2, 9999, Stamp.bytes(7)), call(3, 318),
      Stamp.packet(PacketHeader(program: Program.qemu, procedure: 1, kind: .call, serial: 4), [9]),
      Stamp.packet(PacketHeader(program: Program.lxc, procedure: 1, kind: .call, serial: 5), []),
      Stamp.packet(
        PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 6), Stamp.bytes(0)),
    ]
    for packet in packets { harness.fromClient(packet) }
    #expect(
      difference(harness.backends[0].takeBytes(), packets.dropLast().flatMap { $0 }) == nil,
      "five at a time")
    let replies = [
      reply(2, 9999, .ok, [5]), reply(1, 3, .error, Stamp.bytes(1)),
      Stamp.packet(PacketHeader(program: Program.qemu, procedure: 1, kind: .reply, serial: 4), [8]),
    ]
    for packet in replies { harness.fromBackend(0, packet) }
    #expect(difference(harness.client.takeBytes(), replies.flatMap { $0 }) == nil)
    #expect(difference(harness.backends[0].takeBytes(), packets[5]) == nil)
  }

  @Test(
    "events of any program keep their order among replies and streams, and are dropped before the connection is open"
  )
  func events() {
    let harness = RelayHarness(isOpen: false)
    harness.fromBackend(0, event(1))
    #expect(harness.toClient().isEmpty)
    harness.relay.isOpen = true
    harness.fromClient(call(1, SimulatedBackend.download))
    let qemu = Stamp.packet(
      PacketHeader(program: Program.qemu, procedure: 6, kind: .message, serial: 1), [1])
    harness.fromBackend(
      0, event(2), reply(1, SimulatedBackend.download), event(3),
      stream(1, SimulatedBackend.download, .continue, [1]), qemu, event(4))
    #expect(
      harness.toClient().map { [$0.header.kind.rawValue, UInt32($0.payload.last ?? 0)] } == [
        [2, 2], [1, 0], [2, 3], [3, 1], [2, 1], [2, 4],
      ])
    #expect(harness.relay.counters.events == 4)
  }

  @Test("each packet of a run of one stream counts, and the run ends at any other packet")
  func rows() {
    let (upload, console) = (SimulatedBackend.upload, SimulatedBackend.console)
    let harness = RelayHarness()
    harness.fromClient(call(1, upload), call(2, console))
    harness.fromBackend(0, reply(1, upload), reply(2, console))
    _ = (harness.toClient(), harness.toBackend())
    let before = harness.relay.counters
    let row =
      stream(1, upload, .continue, [1]) + stream(1, upload, .continue, [2, 2])
      + stream(2, console, .continue, [3]) + stream(1, upload, .continue, [4])
      + stream(1, upload, .continue, [5]) + stream(1, upload, .ok)
    // Packets after the client's finish are dropped.
    harness.fromClient(row + stream(1, upload, .continue, [6]) + stream(2, console, .continue, [7]))
    #expect(harness.backends[0].takeBytes() == row + stream(2, console, .continue, [7]))
    #expect(harness.relay.counters.packetsUp - before.packetsUp == 8)
    let call = harness.relay.callsUnderWay.first { $0.serial == 1 }
    #expect(call?.up.bytes == 5, "the payload that was passed on")

    let answer =
      stream(2, console, .continue, [1]) + stream(2, console, .continue, [2, 2])
      + stream(2, console, .continue)
    harness.fromBackend(0, answer)
    #expect(harness.client.takeBytes() == answer)
    #expect(harness.relay.counters.packetsDown - before.packetsDown == 3)
    #expect(harness.relay.callsUnderWay.first { $0.serial == 2 }?.down.bytes == 3)
  }

  @Test("replies without a waiting call are dropped")
  func unwantedReplies() {
    let harness = RelayHarness(backends: 2)
    harness.homes[.storage] = 1
    harness.fromClient(call(1), call(2, 84))
    harness.fromBackend(0, reply(9), reply(2, 84))
    harness.fromBackend(1, reply(1))
    #expect(harness.toClient().isEmpty, "unknown, or from the wrong daemon")
    harness.fromBackend(0, reply(1), reply(1))
    #expect(harness.toClient().map(\.serial) == [1], "once")
    harness.fromBackend(
      0, Stamp.packet(PacketHeader(version: 2, procedure: 84, kind: .reply, serial: 2), []))
    harness.fromBackend(
      0,
      Stamp.packet(PacketHeader(program: Program.qemu, procedure: 84, kind: .reply, serial: 2), []))
    #expect(harness.toClient().isEmpty)
    #expect(harness.ended.isEmpty)
    #expect(harness.relay.counters.dropped == 6)
  }

  @Test("stream packets without a stream are dropped, in both directions")
  func unwantedStreams() {
    let harness = RelayHarness(backends: 2)
    let download = SimulatedBackend.download
    harness.homes[.storage] = 1
    harness.fromClient(stream(1, download, .continue, [1]))
    harness.fromClient(call(1, download), call(2))
    harness.fromBackend(1, reply(1, download))
    _ = harness.toClient()
    _ = harness.toBackend(0)
    _ = harness.toBackend(1)
    harness.fromClient(
      stream(1, 208, .continue, [1]), stream(2, 3, .continue, [1]), stream(3, download, .ok))
    #expect(harness.toBackend(0).isEmpty)
    #expect(harness.toBackend(1).isEmpty)
    harness.fromBackend(0, stream(1, download, .continue, [1]), stream(2, 3, .continue, [1]))
    harness.fromBackend(1, stream(1, 208, .continue, [1]), stream(9, download, .ok))
    #expect(harness.toClient().isEmpty)
    #expect(harness.ended.isEmpty)
    #expect(harness.relay.clientEnd == nil)
    harness.fromBackend(1, stream(1, download, .continue, [1]))
    #expect(harness.toClient().map(\.payload) == [[1]])
  }

  @Test(
    "packet kinds that no client sends are dropped, and kinds that no server sends end the upstream"
  )
  func kinds() {
    for kind in [1, 2, 7, 99, UInt32.max] {
      let harness = RelayHarness()
      harness.fromClient(
        Stamp.packet(PacketHeader(procedure: 3, kind: PacketKind(rawValue: kind), serial: 1), [1]),
        call(2))
      #expect(harness.toBackend().map(\.serial) == [2], "kind \(kind)")
    }
    for kind in [0, 4, 7, UInt32.max] {
      let harness = RelayHarness()
      harness.fromBackend(
        0,
        Stamp.packet(
          PacketHeader(procedure: 3, kind: PacketKind(rawValue: kind), serial: 1), Stamp.bytes(0)))
      #expect(harness.upstreamViolation == Violation(.backendPacketTypeInvalid, [kind]))
      #expect(harness.relay.clientEnd == nil)
    }
  }

  @Test("keepalive packets are not forwarded")
  func keepAlive() {
    let harness = RelayHarness()
    let odd = Packets.keepAlive(7)
    harness.fromClient(ping, pong, odd)
    #expect(harness.client.takeBytes() == pong)
    harness.fromBackend(0, ping, pong, odd)
    #expect(harness.backends[0].takeBytes() == pong)
    #expect(harness.toClient().isEmpty)
    let second = Stamp.packet(
      PacketHeader(program: Program.keepAlive, version: 2, procedure: 1, kind: .message, serial: 0),
      [])
    harness.fromClient(second)
    #expect(harness.toClient().isEmpty)
    #expect(harness.relay.receivedFromClient == 4 * 28)
  }

  @Test("before the client is open the owner sees every call, after that those that concern it")
  func owner() {
    let harness = RelayHarness(isOpen: false)
    harness.isAnswered = { _ in true }
    harness.fromClient(call(1, 3, [1, 2, 3, 4]), call(2, Remote.authList))
    #expect(harness.asked.map(\.header.serial) == [1, 2])
    #expect(harness.asked.first?.body == [1, 2, 3, 4])
    #expect(harness.toClient().map(\.serial) == [1, 2])
    #expect(harness.toBackend().isEmpty)
    harness.relay.isOpen = true
    harness.isAnswered = { $0.procedure == Remote.connectClose }
    let concern: [Int32] = [1, 2, 60, 66, 67, 68, 69, 70, 419]
    for procedure in 0...453 as ClosedRange<Int32> {
      let before = harness.asked.count
      harness.fromClient(call(10 + UInt32(procedure), procedure))
      #expect((harness.asked.count > before) == concern.contains(procedure), "\(procedure)")
      let serials = harness.toBackend().map(\.serial)
      #expect(serials == (procedure == Remote.connectClose ? [] : [10 + UInt32(procedure)]))
      harness.fromBackend(0, reply(10 + UInt32(procedure), procedure))
      harness.fromBackend(
        0,
        Packets.streamError(
          program: Program.remote, procedure: procedure, serial: 10 + UInt32(procedure),
          harness.lossError))
    }
    for (program, version) in [
      (Program.keepAlive, 1), (0x0690_0690, 1), (Program.remote, 2), (Program.qemu, 0),
    ] as [(UInt32, UInt32)] {
      let before = harness.asked.count
      harness.fromClient(
        Stamp.packet(
          PacketHeader(program: program, version: version, procedure: 3, kind: .call, serial: 900),
          []))
      #expect(harness.asked.count == before + 1, "program \(program) version \(version)")
      harness.fromBackend(
        0,
        Stamp.packet(
          PacketHeader(program: program, version: version, procedure: 3, kind: .reply, serial: 900),
          []))
    }
  }

  @Test(
    "only the owner gets the reply to the broker's own call, which is sent after the client's packets"
  )
  func ownCall() {
    let harness = RelayHarness()
    harness.fromClient(call(5), call(6))
    harness.backends[0].room = 0
    harness.fromClient(call(7))
    harness.relay.call(0, serial: 8, call(8, Remote.connectClose), behindClient: true)
    harness.backendReads()
    #expect(harness.toBackend().map(\.serial) == [5, 6, 7, 8])
    harness.fromBackend(0, reply(6), reply(8, Remote.connectClose, .ok, [1, 2]), reply(5))
    #expect(harness.toClient().map(\.serial) == [6, 5])
    #expect(harness.answers.map(\.header.serial) == [8])
    #expect(harness.answers.first?.body == [1, 2])
    harness.fromBackend(0, reply(8, Remote.connectClose))
    #expect(harness.answers.count == 1)
  }

  @Test("concurrent calls with one serial all get replies, from one daemon and from two")
  func serials() {
    let harness = RelayHarness(backends: 2)
    harness.homes[.storage] = 1
    harness.fromClient(call(1), call(1, 23), call(1), call(1, 84))
    #expect(harness.toBackend(0).map(\.header.procedure) == [3, 23, 3])
    #expect(harness.toBackend(1).map(\.header.procedure) == [84])
    harness.fromBackend(0, reply(1, 23))
    harness.fromBackend(1, reply(1, 84), reply(1, 84))
    harness.fromBackend(0, reply(1, 3, .error), reply(1))
    #expect(harness.toClient().map(\.header.procedure) == [23, 84, 3, 3], "each once")
    #expect(harness.relay.awaitedCount == 0)
    #expect(harness.relay.callsUnderWay.isEmpty)
    harness.fromClient(call(1), call(1, 84), call(1, 23))
    harness.backendEnds(0)
    #expect(harness.toClient().map(\.header.procedure).sorted() == [3, 23])
    harness.fromBackend(1, reply(1, 84))
    #expect(harness.toClient().map(\.header.procedure) == [84])
    #expect(harness.relay.clientEnd == nil)
  }

  @Test("a call may have the serial of an open stream; a second stream of the same procedure fails")
  func streamSerials() {
    let (download, console) = (SimulatedBackend.download, SimulatedBackend.console)
    let harness = RelayHarness(maxRequests: 20)
    harness.fromClient(call(1, download))
    harness.fromBackend(0, reply(1, download))
    harness.fromClient(call(1), call(1, console))
    harness.fromBackend(
      0, stream(1, download, .continue, [1]), reply(1, console), stream(1, console, .continue, [2]),
      reply(1), stream(1, download, .continue, [3]))
    #expect(harness.toClient().map(\.payload) == [[], [1], [], [2], [], [3]])
    _ = harness.toBackend()
    harness.fromClient(call(1, download))
    let refusal = harness.toClient()
    #expect(refusal.map(\.header.kind) == [.reply])
    #expect(refusal.first?.error?.message?.contains("serial 1 ") == true)
    #expect(harness.toBackend().isEmpty)
    harness.fromClient(stream(1, console, .ok), stream(1, download, .error))
    #expect(harness.toBackend().map(\.header.procedure) == [console, download])
    harness.fromBackend(0, stream(1, download, .ok), stream(1, console, .ok))
    #expect(harness.toClient().map(\.header.procedure) == [download, console])
    #expect(harness.over.map(\.call.procedure) == [download, console])
    #expect(harness.relay.callsUnderWay.isEmpty)
    harness.fromClient(call(1, download))
    #expect(harness.toBackend().count == 1, "one that is over does not count")
  }

  @Test(
    "a hole on a stream that is not sparse ends its sender's connection", arguments: [true, false])
  func holes(isSparse: Bool) {
    let arguments = VolumeTransferArguments(
      pool: "p", name: "v", key: "k", offset: 0, length: 0, flags: isSparse ? 1 : 0
    ).encoded
    let hole = Stamp.packet(
      PacketHeader(procedure: 208, kind: .streamHole, serial: 1, status: .continue),
      StreamHole(length: 1 << 20).encoded)
    let harness = RelayHarness()
    harness.fromClient(call(1, 208, arguments))
    harness.fromBackend(0, reply(1, 208))
    harness.fromClient(hole)
    #expect(harness.violation == (isSparse ? nil : Violation(.holeOnPlainStream, [1])))
    let other = RelayHarness()
    other.fromClient(call(1, 208, arguments))
    other.fromBackend(0, reply(1, 208))
    other.fromBackend(0, hole)
    #expect(
      other.upstreamViolation == (isSparse ? nil : Violation(.streamPacketOutOfOrder, [1])))
    #expect(other.relay.clientEnd == nil)
  }

  @Test(
    "an invalid length ends the connection it arrived on",
    arguments: [UInt32(0), 27, 33_554_437])
  func lengths(length: UInt32) {
    let harness = RelayHarness()
    harness.fromClient(call(1), Stamp.bytes(length, 0, 0, 0, 0, 0, 0))
    #expect(harness.violation == Violation(.packetLengthOutOfRange, [length, 28, 33_554_436]))
    let other = RelayHarness()
    other.fromClient(call(1))
    other.fromBackend(0, reply(1), Stamp.bytes(length, 0, 0, 0, 0, 0, 0))
    #expect(
      other.upstreamViolation == Violation(.packetLengthOutOfRange, [length, 28, 33_554_436]))
    #expect(other.toClient().map(\.serial) == [1])
    // The four bytes of the length are enough, also while the client's calls are held back.
    for maxRequests in [1, 5] {
      let early = RelayHarness(maxRequests: maxRequests)
      early.fromClient(call(1), maxRequests == 1 ? call(2) : [], Stamp.bytes(length))
      #expect(early.violation == Violation(.packetLengthOutOfRange, [length, 28, 33_554_436]))
    }
    let early = RelayHarness()
    early.fromClient(call(1))
    early.fromBackend(0, reply(1), Stamp.bytes(length))
    #expect(
      early.upstreamViolation == Violation(.packetLengthOutOfRange, [length, 28, 33_554_436]))
    #expect(early.toClient().map(\.serial) == [1])
  }

  @Test(
    "a large call that the broker answers gets one reply, made from the beginning of its arguments")
  func largeOwnCall() throws {
    let harness = RelayHarness(isOpen: false)
    harness.isAnswered = { _ in true }
    for (serial, kind) in [(1, PacketKind.call), (2, .callWithDescriptors)]
      as [(UInt32, PacketKind)]
    {
      let body = (0..<400_000).map { UInt8(truncatingIfNeeded: $0 / 1000) }
      let count: [UInt8] = kind == .call ? [] : [0, 0, 0, 0]
      let packet = Stamp.packet(
        PacketHeader(procedure: Remote.connectOpen, kind: kind, serial: serial), count + body)
      for start in stride(from: 0, to: packet.count, by: 50_000) {
        #expect(harness.asked.count == Int(serial) - 1, "not before it is there")
        harness.fromClient(Array(packet[start..<min(packet.count, start + 50_000)]))
      }
      let asked = try #require(harness.asked.last)
      #expect(asked.header.serial == serial)
      #expect(asked.body == Array(body.prefix(Limits.usualPayload)))
      #expect(harness.toClient().map(\.serial) == [serial])
    }
    harness.fromClient(call(3))
    #expect(harness.asked.last?.header.serial == 3)
    #expect(harness.relay.clientEnd == nil)
  }

  @Test(
    "a large call that the broker inspected and would forward fails, because its beginning was not kept"
  )
  func largeForwarded() {
    let harness = RelayHarness()
    let packet = call(1, Remote.connectSupportsFeature, [UInt8](repeating: 0, count: 400_000))
    harness.fromClient(Array(packet.prefix(100_000)))
    harness.fromClient(Array(packet.dropFirst(100_000)), call(2))
    let arrived = harness.toClient()
    #expect(arrived.map(\.serial) == [1])
    #expect(arrived.first?.error?.message == "Unable to decode message payload")
    #expect(harness.toBackend().map(\.serial) == [2])
  }

  @Test(
    "the owner gets a large reply to the broker's own call whole; a reply above the limit ends the upstream"
  )
  func largeOwnReply() {
    let body = (0..<(Limits.ownReply - Limits.header)).map { UInt8(truncatingIfNeeded: $0 / 999) }
    for extra in [0, 1] {
      let harness = RelayHarness()
      harness.relay.call(0, serial: 8, call(8, Remote.connectOpen))
      let packet = reply(8, Remote.connectOpen, .error, body + [UInt8](repeating: 1, count: extra))
      for start in stride(from: 0, to: packet.count, by: 100_000) {
        harness.fromBackend(0, Array(packet[start..<min(packet.count, start + 100_000)]))
      }
      #expect(harness.answers.map(\.body.count) == (extra == 0 ? [body.count] : []))
      #expect(harness.answers.allSatisfy { $0.body == body })
      #expect(
        harness.upstreamViolation
          == (extra == 0 ? nil : Violation(.replyTooLarge, [packet.count])))
    }
  }
}
