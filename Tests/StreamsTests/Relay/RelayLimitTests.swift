// Limits of the relay: what waits, and what passes meanwhile.
import Testing

@testable import Simulator
@testable import Streams

@Suite("relay: limits")
struct RelayLimitTests {
  @Test("calls beyond the limit wait for replies, and PINGs after them are answered at once")
  func requests() {
    let harness = RelayHarness(maxRequests: 2)
    harness.fromClient(call(1), call(2), call(3), ping, call(4))
    #expect(harness.toBackend().map(\.serial) == [1, 2])
    #expect(harness.toClient().map(\.header.procedure) == [KeepAliveProcedure.pong])
    #expect(harness.relay.awaitedCount == 2)
    harness.fromClient(ping)
    #expect(harness.toClient().count == 1)
    harness.fromBackend(0, reply(2))
    #expect(harness.toClient().map(\.serial) == [2])
    #expect(harness.toBackend().map(\.serial) == [3])
    harness.fromBackend(0, reply(1), reply(3))
    #expect(harness.toBackend().map(\.serial) == [4])
    #expect(harness.toClient().map(\.serial) == [1, 3], "no PING is answered twice")
    #expect(harness.relay.counters.calls == 4)
  }

  @Test(
    "a PING is answered once, wherever the reads end and whether or not it waits behind a call",
    arguments: 1...84)
  func pingsCut(piece: Int) {
    let harness = RelayHarness(maxRequests: 1)
    let bytes = ping + call(1) + ping + call(2) + ping + ping
    for start in stride(from: 0, to: bytes.count, by: piece) {
      harness.fromClient(Array(bytes[start..<min(start + piece, bytes.count)]))
    }
    #expect(harness.toClient().count { $0.header.program == Program.keepAlive } == 4)
    harness.fromBackend(0, reply(1))
    #expect(harness.toClient().map(\.serial) == [1])
    #expect(harness.toBackend().map(\.serial) == [1, 2])
  }

  @Test("a stream's packets pass waiting calls, and a call waits behind a waiting call")
  func streamsPassHeldCalls() {
    let harness = RelayHarness(maxRequests: 2)
    harness.fromClient(call(1, SimulatedBackend.console))
    harness.fromBackend(0, reply(1, SimulatedBackend.console))
    harness.fromClient(call(2), call(3))
    _ = harness.toBackend()
    let key = stream(1, SimulatedBackend.console, .continue, [65])
    harness.fromClient(key)
    #expect(harness.toBackend().map(\.payload) == [[65]], "both calls are under way")
    harness.fromClient(key, call(4), key)
    #expect(harness.toBackend().map(\.serial) == [1])
    harness.fromBackend(0, reply(3))
    #expect(harness.toBackend().map(\.serial) == [4, 1])
  }

  @Test("a client with waiting calls is read up to the read-ahead watermark plus one read")
  func ahead() {
    let harness = RelayHarness(
      maxRequests: 1, watermarks: Watermarks(high: 4096, ahead: 1000, own: 4096))
    harness.fromClient(call(1))
    var sent = 0
    while harness.relay.clientInterest.contains(.read), sent < 100 {
      harness.fromClient(call(UInt32(2 + sent), 3, [UInt8](repeating: 0, count: 172)))
      sent += 1
    }
    #expect(sent == 5, "1000 bytes are five calls of 200")
    #expect(harness.relay.isClientPaused)
    harness.fromBackend(0, reply(1))
    #expect(!harness.relay.isClientPaused)
    #expect(harness.toBackend().map(\.serial) == [1, 2])
  }

  @Test(
    "an upstream is paused above the client's high watermark and read again below half of it")
  func slowClient() {
    let harness = RelayHarness(watermarks: Watermarks(high: 1000, ahead: 1000, own: 1000))
    harness.client.room = 0
    var events: UInt32 = 0
    while harness.relay.upstreamInterest(0).contains(.read), events < 100 {
      events += 1
      harness.fromBackend(0, event(events))
    }
    #expect(harness.relay.waitingForClient == 1024, "one packet of 32 bytes above the mark")
    #expect(harness.relay.upstreamInterest(0) == [])
    harness.clientReads(300)
    #expect(harness.relay.upstreamInterest(0) == [])
    harness.clientReads(224)
    #expect(harness.relay.waitingForClient == 500)
    #expect(harness.relay.upstreamInterest(0) == .read)
    harness.clientReads()
    let numbers = harness.toClient().map {
      Stamp.word(Array(repeating: 0, count: 28) + $0.payload, 0)
    }
    #expect(numbers == (1...events).map { $0 })
  }

  @Test("a client is paused above an upstream's high watermark and read again below half of it")
  func slowUpstream() {
    let harness = RelayHarness(watermarks: Watermarks(high: 1000, ahead: 100, own: 1000))
    harness.fromClient(call(1, SimulatedBackend.upload))
    harness.fromBackend(0, reply(1, SimulatedBackend.upload))
    _ = harness.toBackend()
    harness.backends[0].room = 0
    let data = stream(1, SimulatedBackend.upload, .continue, [UInt8](repeating: 7, count: 172))
    var sent = 0
    while harness.relay.clientInterest.contains(.read), sent < 100 {
      harness.fromClient(data)
      sent += 1
    }
    // Six packets exceed the high watermark; one more read is ahead of them.
    #expect(sent == 7)
    #expect(harness.relay.isClientPaused)
    harness.backendReads(0, 600)
    #expect(harness.relay.isClientPaused, "600 of 1200 bytes wait, with one packet behind them")
    harness.backendReads(0, 100)
    #expect(!harness.relay.isClientPaused)
    harness.backendReads()
    #expect(harness.toBackend().count == sent)
  }

  @Test("a client that does not read its PONGs is paused")
  func unreadPongs() {
    let harness = RelayHarness(watermarks: Watermarks(high: 4096, ahead: 4096, own: 280))
    harness.client.room = 0
    var sent = 0
    while harness.relay.clientInterest.contains(.read), sent < 1000 {
      harness.fromClient(ping)
      sent += 1
    }
    #expect(sent <= 12)
    #expect(harness.relay.waitingForClient == 28 * sent)
    harness.clientReads()
    #expect(harness.toClient().count == sent)
    #expect(harness.relay.clientInterest == .read)
  }

  @Test(
    "a client that does not read its refusals is paused, whatever causes them",
    arguments: [true, false])
  func unreadRefusals(throughUpstream: Bool) {
    let harness = RelayHarness(watermarks: Watermarks(high: 4096, ahead: 4096, own: 1000))
    harness.client.room = 0
    harness.tellsClosed = false
    var serial: UInt32 = 0
    while harness.relay.clientInterest.contains(.read), serial < 1000 {
      serial += 1
      if throughUpstream {
        // A daemon that accepts each connection and then refuses CONNECT_OPEN.
        harness.homes[.storage] = harness.add()
        harness.fromClient(call(serial, 84))
        harness.relay.remove(upstream: harness.homes[.storage] ?? -1, telling: harness.lossError)
        harness.relay.settle()
      } else {
        harness.routeError = harness.lossError
        harness.fromClient(call(serial, 84))
      }
    }
    #expect(serial < 20)
    #expect(harness.pool.heldCount <= 3)
    harness.clientReads()
    #expect(harness.toClient().map(\.serial) == (1...serial).map { $0 })
  }

  @Test("a backend that does not read its PONGs gets no more of them")
  func unreadPongsOfBackend() {
    let harness = RelayHarness(watermarks: Watermarks(high: 4096, ahead: 4096, own: 280))
    harness.backends[0].room = 0
    for _ in 0..<1000 { harness.fromBackend(0, ping) }
    #expect(harness.relay.waitingForUpstreams <= 280 + 28)
    harness.backendReads()
    #expect(harness.toBackend().allSatisfy { $0.header.procedure == KeepAliveProcedure.pong })
  }

  @Test("the number of a client's streams is limited")
  func streams() {
    let harness = RelayHarness()
    for serial in 0..<UInt32(Watermarks.streams) {
      harness.fromClient(call(serial, SimulatedBackend.console))
      harness.fromBackend(0, reply(serial, SimulatedBackend.console))
    }
    #expect(harness.toBackend().count == Watermarks.streams)
    #expect(harness.toClient().allSatisfy { $0.header.status == .ok })
    harness.fromClient(call(5000, SimulatedBackend.console), call(5001))
    #expect(harness.toBackend().map(\.serial) == [5001], "other calls go on")
    #expect(
      harness.toClient().map(\.error?.message) == [
        "operation failed: 1024 streams are open on this connection"
      ])
    harness.fromBackend(
      0, Packets.streamError(program: Program.remote, procedure: 201, serial: 7, harness.lossError))
    harness.fromClient(call(5002, SimulatedBackend.console))
    #expect(harness.toBackend().map(\.serial) == [5002])
  }

  @Test("while a relay is held, only PONGs are sent in response to the client")
  func held() {
    let harness = RelayHarness()
    harness.relay.isHeld = true
    harness.fromClient(call(1), ping)
    #expect(harness.toBackend().isEmpty)
    #expect(harness.toClient().map(\.header.procedure) == [KeepAliveProcedure.pong])
    harness.fromBackend(0, event(1))
    #expect(harness.toClient().count == 1, "what comes from upstreams does")
    harness.relay.isHeld = false
    harness.relay.settle()
    #expect(harness.toBackend().map(\.serial) == [1])
    #expect(harness.toClient().isEmpty)
  }

  @Test("packets for an upstream that is being opened wait for it; others do not")
  func opening() {
    let harness = RelayHarness()
    harness.homes[.storage] = harness.add()
    harness.fromClient(call(1, 84), call(2))
    #expect(harness.toBackend(0).map(\.serial) == [2])
    harness.relay.call(1, serial: 0, call(0, Remote.authList))
    harness.relay.settle()
    #expect(harness.toBackend(1).map(\.header.procedure) == [Remote.authList])
    harness.fromBackend(1, reply(0, Remote.authList))
    #expect(harness.answers.map(\.slot) == [1])
    #expect(harness.toClient().isEmpty)
    harness.relay.upstreamIsOpen(1)
    harness.relay.settle()
    #expect(harness.toBackend(1).map(\.serial) == [1])
  }
}
