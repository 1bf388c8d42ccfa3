// What happens to calls and streams when the client or an upstream disconnects.
import Testing

@testable import Simulator
@testable import Streams

@Suite("relay: ends")
struct RelayEndTests {
  private static let registered = Remote.connectRegisterCloseCallback

  @Test("each call and each stream of a lost upstream ends once, with the owner's error")
  func everythingEnds() {
    let harness = RelayHarness(maxRequests: 20)
    harness.fromClient(call(1, SimulatedBackend.download), call(2, SimulatedBackend.console))
    harness.fromBackend(
      0, reply(1, SimulatedBackend.download), reply(2, SimulatedBackend.console),
      stream(1, SimulatedBackend.download, .continue, [1]))
    // Streams 1 and 2 are open, 3 is finishing, 4 waits for its reply, 5 has ended; 6 and 7 are plain calls.
    harness.fromClient(call(3, SimulatedBackend.upload))
    harness.fromBackend(0, reply(3, SimulatedBackend.upload))
    harness.fromClient(
      stream(3, SimulatedBackend.upload, .ok), call(4, SimulatedBackend.download),
      call(5, SimulatedBackend.download), call(6), call(7, 23))
    harness.fromBackend(
      0, stream(4, SimulatedBackend.download, .continue, [4]), reply(5, SimulatedBackend.download),
      Packets.streamError(program: Program.remote, procedure: 209, serial: 5, harness.lossError))
    _ = harness.toClient()
    #expect(harness.relay.callsUnderWay.count == 6)

    harness.backendEnds()
    #expect(harness.ended.map(\.reason) == [.closed])
    let arrived = harness.toClient()
    #expect(arrived.allSatisfy { $0.header.status == .error && $0.error == harness.lossError })
    #expect(Set(arrived.filter { $0.header.kind == .stream }.map(\.serial)) == [1, 2, 3])
    #expect(Set(arrived.filter { $0.header.kind == .reply }.map(\.serial)) == [4, 6, 7])
    #expect(arrived.count == 6)
    #expect(arrived.first { $0.serial == 7 }?.header.procedure == 23)
    #expect(harness.relay.callsUnderWay.isEmpty)
    #expect(harness.relay.awaitedCount == 0)
    #expect(harness.relay.clientEnd == nil, "the client lives on")
    harness.fromClient(stream(1, SimulatedBackend.download, .error))
    #expect(harness.toClient().isEmpty, "a stream that was failed is not answered again")
  }

  @Test(
    "a client with a close callback gets its event before its calls fail",
    arguments: [
      true, false,
    ])
  func closedEvent(unregisters: Bool) {
    let harness = RelayHarness()
    harness.fromClient(call(1, Self.registered))
    harness.fromBackend(0, reply(1, Self.registered))
    if unregisters {
      harness.fromClient(call(2, Remote.connectUnregisterCloseCallback))
      harness.fromBackend(0, reply(2, Remote.connectUnregisterCloseCallback))
    }
    harness.fromClient(call(3), call(4))
    _ = harness.toClient()
    harness.backendEnds(0, .failed(104))
    #expect(harness.ended.map(\.reason) == [.failed(104)])
    let arrived = harness.toClient()
    #expect(arrived.suffix(2).map(\.serial) == [3, 4])
    if unregisters {
      #expect(arrived.count == 2)
    } else {
      let told = arrived.first
      #expect(arrived.count == 3)
      #expect(told?.header.kind == .message)
      #expect(told?.header.procedure == Remote.connectEventConnectionClosed)
      #expect(told?.serial == 1)
      #expect(told?.payload == Stamp.bytes(1), "the reason is end of file")
    }
  }

  @Test("a refused close callback is not registered")
  func refusedCallback() {
    let harness = RelayHarness()
    harness.fromClient(call(1, Self.registered))
    harness.fromBackend(
      0,
      Packets.error(
        answering: PacketHeader(procedure: Self.registered, kind: .call, serial: 1),
        harness.lossError))
    _ = harness.toClient()
    harness.backendEnds()
    #expect(harness.toClient().isEmpty)
  }

  @Test(
    "packets that an upstream sent before its end arrive before the errors",
    arguments: [0, 40, 1000])
  func receivedBeforeEnd(room: Int) {
    let harness = RelayHarness()
    harness.fromClient(call(1), call(2), call(3))
    harness.client.room = 0
    harness.fromBackend(0, reply(2, 3, .ok, [9, 9]), event(1), event(2), reply(1))
    harness.backendEnds()
    harness.clientReads(room)
    harness.clientReads()
    let arrived = harness.toClient()
    #expect(arrived.map(\.serial) == [2, 1, 1, 1, 3])
    #expect(arrived.map(\.header.status) == [.ok, .ok, .ok, .ok, .error])
    #expect(harness.pool.heldCount == 0)
  }

  @Test("packets that a daemon sent before its socket broke are still read")
  func brokenPipe() {
    let harness = RelayHarness()
    harness.fromClient(call(1), call(2))
    // The daemon answers the first call and closes; the broker notices when it sends the third.
    let socket = BrokenTransport(reply(1))
    let slot = harness.relay.add(upstream: socket)
    harness.homes[.storage] = slot
    harness.relay.upstreamIsOpen(slot)
    harness.fromClient(call(3, 84))
    #expect(harness.ended.map(\.slot) == [slot])
    #expect(harness.toClient().map(\.serial) == [3], "1 was not its call")

    let other = RelayHarness(backends: 0)
    let gone = BrokenTransport(reply(1) + event(4))
    other.homes[.hypervisor] = other.relay.add(upstream: gone)
    other.relay.upstreamIsOpen(0)
    gone.takes = 2
    other.fromClient(call(1))
    other.fromClient(call(2))
    other.fromClient(call(3))
    let arrived = other.toClient()
    #expect(arrived.map(\.header.status) == [.ok, .ok, .error, .error])
    #expect(arrived.map(\.serial) == [1, 1, 2, 3])
  }

  @Test(
    "an upstream that ends in the middle of a packet ends the client's connection only if a part was forwarded",
    arguments: [60, 200, 500])
  func brokenOff(arrived: Int) {
    let harness = RelayHarness(largestWhole: 128)
    harness.fromClient(call(1))
    harness.fromBackend(
      0, Array(reply(1, 3, .ok, [UInt8](repeating: 7, count: 600)).prefix(arrived)))
    harness.backendEnds()
    #expect(harness.relay.clientEnd == .brokenOff)
    let whole = RelayHarness(largestWhole: 1000)
    whole.fromClient(call(1))
    whole.fromBackend(0, Array(reply(1, 3, .ok, [UInt8](repeating: 7, count: 600)).prefix(arrived)))
    whole.backendEnds()
    #expect(whole.relay.clientEnd == nil)
    #expect(whole.toClient().map(\.header.status) == [.error])
  }

  @Test(
    "after the client is discarded its packets are dropped, and packets queued for it still arrive",
    arguments: [0, 40, 200])
  func discarded(sent: Int) {
    let harness = RelayHarness(largestWhole: 128)
    harness.fromClient(call(1), call(2))
    harness.client.room = 0
    harness.fromBackend(0, reply(1), event(1))
    // The beginning of a large packet waits or has been forwarded. Packets of other kinds, also with a descriptor,
    // follow it.
    let large = call(3, 84, [UInt8](repeating: 7, count: 600))
    harness.fromClient(Array(large.prefix(sent)))
    harness.backendEnds()
    harness.relay.discardClient()
    _ = harness.toBackend()
    let carrying = Stamp.packet(
      PacketHeader(procedure: 84, kind: .callWithDescriptors, serial: 4), Stamp.bytes(1))
    harness.fromClient(Array(large.dropFirst(sent)) + ping)
    harness.fromClient(carrying + [0], descriptor: 44)
    harness.fromClient([UInt8](repeating: 0xff, count: 100))
    #expect(harness.relay.clientInterest.contains(.read), "it is read all the same")
    #expect(harness.relay.clientEnd == nil, "nothing it sends is a violation any more")
    #expect(harness.relay.unroutedFromClient == 0)
    #expect(harness.client.discarded == [44])
    #expect(harness.toBackend().isEmpty)
    harness.clientReads()
    let arrived = harness.toClient()
    #expect(arrived.map(\.serial).prefix(3) == [1, 1, 2])
    #expect(arrived.allSatisfy { $0.header.program != Program.keepAlive })
    #expect(harness.pool.heldCount == 0)
    harness.client.afterwards = .end
    harness.relay.clientReady(.read)
    #expect(harness.relay.clientEnd == .closed)
  }

  @Test("the rest of a client's large packet is dropped after the end of its upstream")
  func restDropped() {
    let harness = RelayHarness(backends: 2, largestWhole: 128)
    harness.homes[.storage] = 1
    let large = call(1, 84, [UInt8](repeating: 7, count: 600))
    harness.fromClient(Array(large.prefix(200)))
    #expect(harness.backends[1].takeBytes().count == 200)
    harness.backendEnds(1)
    #expect(harness.toClient().map(\.serial) == [1])
    harness.fromClient(Array(large.dropFirst(200)) + call(2))
    #expect(harness.toBackend(0).map(\.serial) == [2])
    #expect(harness.relay.clientEnd == nil)
  }

  @Test("calls, streams and events of other upstreams continue")
  func others() {
    let harness = RelayHarness(backends: 2)
    harness.homes[.storage] = 1
    harness.fromClient(
      call(1), call(2, 84), call(3, SimulatedBackend.download), call(4, SimulatedBackend.console))
    harness.fromBackend(1, reply(3, SimulatedBackend.download))
    _ = harness.toClient()
    harness.backendEnds(0)
    #expect(harness.toClient().map(\.serial) == [1, 4])
    harness.fromBackend(
      1, stream(3, SimulatedBackend.download, .continue, [1]), reply(2, 84), event(1, 370))
    #expect(harness.toClient().map(\.serial) == [3, 2, 1])
    harness.fromClient(call(5, 84))
    #expect(harness.toBackend(1).map(\.serial).last == 5)
  }

  @Test("after the end of an upstream the owner is asked again for a route for its driver")
  func routedAgain() {
    let harness = RelayHarness(backends: 2)
    harness.homes[.storage] = 1
    harness.fromClient(call(1, 84), call(2, 84), call(3))
    #expect(harness.routed == [.storage, .hypervisor], "once each")
    harness.backendEnds(1)
    _ = harness.toClient()
    harness.homes[.storage] = 0
    harness.fromClient(call(4, 84), call(5))
    #expect(harness.routed == [.storage, .hypervisor, .storage])
    #expect(harness.toBackend(0).map(\.serial) == [3, 4, 5])
    let slot = harness.add()
    #expect(slot == 1, "the place of the lost one is used again")
  }

  @Test("a route that is not lasting is requested for each call")
  func notLasting() {
    let harness = RelayHarness(backends: 2)
    harness.isLasting = false
    harness.fromClient(call(1, 84), call(2, 84))
    harness.homes[.storage] = 1
    harness.isLasting = true
    harness.fromClient(call(3, 84), call(4, 84))
    #expect(harness.routed == [.storage, .storage, .storage])
    #expect(harness.toBackend(0).map(\.serial) == [1, 2])
    #expect(harness.toBackend(1).map(\.serial) == [3, 4])
  }

  @Test("without an upstream the owner's error is the reply")
  func noRoute() {
    let harness = RelayHarness()
    harness.routeError = RemoteError(.internalError, "client socket is closed")
    harness.fromClient(call(1), call(2, SimulatedBackend.upload))
    let arrived = harness.toClient()
    #expect(arrived.map(\.serial) == [1, 2])
    #expect(arrived.allSatisfy { $0.header.kind == .reply && $0.error == harness.routeError })
    #expect(harness.relay.callsUnderWay.isEmpty)
    #expect(harness.toBackend().isEmpty)
  }

  @Test("the end of a client is reported with its reason", arguments: [Outcome.end, .failed(104)])
  func clientEnds(outcome: Outcome) {
    let harness = RelayHarness()
    harness.fromClient(call(1))
    harness.client.afterwards = outcome
    harness.relay.clientReady(.read)
    #expect(harness.relay.clientEnd == (outcome == .end ? .closed : .failed(104)))
    #expect(harness.relay.clientInterest == [])
    harness.fromBackend(0, reply(1))
    #expect(harness.toClient().isEmpty)
  }

  @Test(
    "at the end no segment is held and no descriptor is kept",
    arguments: 0..<100 as Range<UInt64>)
  func cleared(seed: UInt64) {
    var random = Seed(seed)
    let harness = RelayHarness(
      backends: 2, watermarks: Watermarks(high: 600, ahead: 600, own: 200), segment: 256)
    harness.homes[.storage] = 1
    harness.client.room = random.pick(0...300)
    harness.backends[0].room = random.pick(0...300)
    harness.backends[1].room = random.pick(0...300)
    var given = 0
    for serial in 1...UInt32(random.pick(2...12)) {
      let carrying = Stamp.packet(
        PacketHeader(procedure: 84, kind: .callWithDescriptors, serial: serial), Stamp.bytes(1))
      if random.once(in: 2) {
        harness.fromClient(carrying + [0], descriptor: 50 + Int32(serial))
        given += 1
      } else {
        harness.fromClient(
          Array(call(serial, 3, [UInt8](repeating: 1, count: 90)).prefix(random.pick(20...118))))
        break
      }
      harness.fromBackend(0, event(serial))
    }
    harness.relay.clear()
    #expect(harness.pool.heldCount == 0)
    #expect(
      harness.client.discarded.count + harness.backends[0].discarded.count
        + harness.backends[1].discarded.count == given)
  }
}

/// A daemon that sends its last bytes and then accepts nothing or little.
private final class BrokenTransport: Transport {
  let carriesDescriptors = true
  private var words: [UInt8]
  /// Sends that still succeed.
  var takes = 0

  init(_ words: [UInt8]) { self.words = words }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    guard takes == 0 else { return .blocked(.read) }
    guard !words.isEmpty else { return .end }
    let room = UnsafeMutableRawBufferPointer(start: rooms[0].base, count: rooms[0].count)
    let part = words.prefix(room.count)
    room.copyBytes(from: part)
    words.removeFirst(part.count)
    return .moved(part.count)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    guard takes > 0 else { return .failed(32) }
    takes -= 1
    return .moved(runs.reduce(0) { $0 + $1.count })
  }
  func send(descriptor: Int32) -> Outcome { .failed(32) }
  func discard(descriptor: Int32) {}
}
