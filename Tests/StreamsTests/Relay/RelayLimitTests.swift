// What a relay holds back, and what goes on nevertheless.
import Testing

@testable import Streams

@Suite("relay: limits")
struct RelayLimitTests {
  @Test("calls beyond the limit wait for replies, and PINGs behind them are answered at once")
  func requests() {
    let desk = Desk(maxRequests: 2)
    desk.fromClient(call(1), call(2), call(3), ping, call(4))
    #expect(desk.toBackend().map(\.serial) == [1, 2])
    #expect(desk.toClient().map(\.header.procedure) == [KeepAliveProcedure.pong])
    #expect(desk.relay.awaitedCount == 2)
    desk.fromClient(ping)
    #expect(desk.toClient().count == 1)
    desk.fromBackend(0, reply(2))
    #expect(desk.toClient().map(\.serial) == [2])
    #expect(desk.toBackend().map(\.serial) == [3])
    desk.fromBackend(0, reply(1), reply(3))
    #expect(desk.toBackend().map(\.serial) == [4])
    #expect(desk.toClient().map(\.serial) == [1, 3], "no PING is answered twice")
    #expect(desk.relay.counters.calls == 4)
  }

  @Test(
    "a PING is answered once, wherever the reads end and whether it waits behind a call or not",
    arguments: 1...84)
  func pingsCut(piece: Int) {
    let desk = Desk(maxRequests: 1)
    let bytes = ping + call(1) + ping + call(2) + ping + ping
    for start in stride(from: 0, to: bytes.count, by: piece) {
      desk.fromClient(Array(bytes[start..<min(start + piece, bytes.count)]))
    }
    #expect(desk.toClient().count { $0.header.program == Program.keepAlive } == 4)
    desk.fromBackend(0, reply(1))
    #expect(desk.toClient().map(\.serial) == [1])
    #expect(desk.toBackend().map(\.serial) == [1, 2])
  }

  @Test("a stream's packets pass while calls wait, a call's packets wait behind a waiting call")
  func streamsPassHeldCalls() {
    let desk = Desk(maxRequests: 2)
    desk.fromClient(call(1, SimulatedBackend.console))
    desk.fromBackend(0, reply(1, SimulatedBackend.console))
    desk.fromClient(call(2), call(3))
    _ = desk.toBackend()
    let key = stream(1, SimulatedBackend.console, .continue, [65])
    desk.fromClient(key)
    #expect(desk.toBackend().map(\.payload) == [[65]], "both calls are under way")
    desk.fromClient(key, call(4), key)
    #expect(desk.toBackend().map(\.serial) == [1])
    desk.fromBackend(0, reply(3))
    #expect(desk.toBackend().map(\.serial) == [4, 1])
  }

  @Test("no more is read ahead of a client whose calls wait than the mark and one read")
  func ahead() {
    let desk = Desk(maxRequests: 1, marks: Marks(high: 4096, ahead: 1000, own: 4096))
    desk.fromClient(call(1))
    var sent = 0
    while desk.relay.clientInterest.contains(.read), sent < 100 {
      desk.fromClient(call(UInt32(2 + sent), 3, [UInt8](repeating: 0, count: 172)))
      sent += 1
    }
    #expect(sent == 5, "1000 bytes are five calls of 200")
    #expect(desk.relay.isClientPaused)
    desk.fromBackend(0, reply(1))
    #expect(!desk.relay.isClientPaused)
    #expect(desk.toBackend().map(\.serial) == [1, 2])
  }

  @Test(
    "an upstream is not read while more than the mark waits for the client, and again below half")
  func slowClient() {
    let desk = Desk(marks: Marks(high: 1000, ahead: 1000, own: 1000))
    desk.client.room = 0
    var events: UInt32 = 0
    while desk.relay.upstreamInterest(0).contains(.read), events < 100 {
      events += 1
      desk.fromBackend(0, event(events))
    }
    #expect(desk.relay.waitingForClient == 1024, "one packet of 32 bytes above the mark")
    #expect(desk.relay.upstreamInterest(0) == [])
    desk.clientReads(300)
    #expect(desk.relay.upstreamInterest(0) == [])
    desk.clientReads(224)
    #expect(desk.relay.waitingForClient == 500)
    #expect(desk.relay.upstreamInterest(0) == .read)
    desk.clientReads()
    let numbers = desk.toClient().map { Stamp.word(Array(repeating: 0, count: 28) + $0.payload, 0) }
    #expect(numbers == (1...events).map { $0 })
  }

  @Test("a client is not read while more than the mark waits for an upstream, and again below half")
  func slowUpstream() {
    let desk = Desk(marks: Marks(high: 1000, ahead: 100, own: 1000))
    desk.fromClient(call(1, SimulatedBackend.upload))
    desk.fromBackend(0, reply(1, SimulatedBackend.upload))
    _ = desk.toBackend()
    desk.backends[0].room = 0
    let data = stream(1, SimulatedBackend.upload, .continue, [UInt8](repeating: 7, count: 172))
    var sent = 0
    while desk.relay.clientInterest.contains(.read), sent < 100 {
      desk.fromClient(data)
      sent += 1
    }
    // Six packets are above the mark; behind them one read comes to the other.
    #expect(sent == 7)
    #expect(desk.relay.isClientPaused)
    desk.backendReads(0, 600)
    #expect(desk.relay.isClientPaused, "600 of 1200 bytes wait, with one packet behind them")
    desk.backendReads(0, 100)
    #expect(!desk.relay.isClientPaused)
    desk.backendReads()
    #expect(desk.toBackend().count == sent)
  }

  @Test("a client that does not read its PONGs is not read either")
  func unreadPongs() {
    let desk = Desk(marks: Marks(high: 4096, ahead: 4096, own: 280))
    desk.client.room = 0
    var sent = 0
    while desk.relay.clientInterest.contains(.read), sent < 1000 {
      desk.fromClient(ping)
      sent += 1
    }
    #expect(sent <= 12)
    #expect(desk.relay.waitingForClient == 28 * sent)
    desk.clientReads()
    #expect(desk.toClient().count == sent)
    #expect(desk.relay.clientInterest == .read)
  }

  @Test("refusals nobody reads stop a client, whatever makes them", arguments: [true, false])
  func unreadRefusals(throughUpstream: Bool) {
    let desk = Desk(marks: Marks(high: 4096, ahead: 4096, own: 1000))
    desk.client.room = 0
    desk.tellsClosed = false
    var serial: UInt32 = 0
    while desk.relay.clientInterest.contains(.read), serial < 1000 {
      serial += 1
      if throughUpstream {
        // A daemon that takes the connection and then refuses to be opened, each time anew.
        desk.homes[.storage] = desk.add()
        desk.fromClient(call(serial, 84))
        desk.relay.remove(upstream: desk.homes[.storage] ?? -1, telling: desk.farewell)
        desk.relay.settle()
      } else {
        desk.routeError = desk.farewell
        desk.fromClient(call(serial, 84))
      }
    }
    #expect(serial < 20)
    #expect(desk.pool.heldCount <= 3)
    desk.clientReads()
    #expect(desk.toClient().map(\.serial) == (1...serial).map { $0 })
  }

  @Test("a backend that does not read its PONGs gets no more of them")
  func unreadPongsOfBackend() {
    let desk = Desk(marks: Marks(high: 4096, ahead: 4096, own: 280))
    desk.backends[0].room = 0
    for _ in 0..<1000 { desk.fromBackend(0, ping) }
    #expect(desk.relay.waitingForUpstreams <= 280 + 28)
    desk.backendReads()
    #expect(desk.toBackend().allSatisfy { $0.header.procedure == KeepAliveProcedure.pong })
  }

  @Test("a client has a limited number of streams")
  func streams() {
    let desk = Desk()
    for serial in 0..<UInt32(Marks.streams) {
      desk.fromClient(call(serial, SimulatedBackend.console))
      desk.fromBackend(0, reply(serial, SimulatedBackend.console))
    }
    #expect(desk.toBackend().count == Marks.streams)
    #expect(desk.toClient().allSatisfy { $0.header.status == .ok })
    desk.fromClient(call(5000, SimulatedBackend.console), call(5001))
    #expect(desk.toBackend().map(\.serial) == [5001], "other calls go on")
    #expect(
      desk.toClient().map(\.error?.message) == [
        "operation failed: 1024 streams are open on this connection"
      ])
    desk.fromBackend(
      0, Packets.streamError(program: Program.remote, procedure: 201, serial: 7, desk.farewell))
    desk.fromClient(call(5002, SimulatedBackend.console))
    #expect(desk.toBackend().map(\.serial) == [5002])
  }

  @Test("while a relay is held nothing of the client goes on but PONGs")
  func held() {
    let desk = Desk()
    desk.relay.isHeld = true
    desk.fromClient(call(1), ping)
    #expect(desk.toBackend().isEmpty)
    #expect(desk.toClient().map(\.header.procedure) == [KeepAliveProcedure.pong])
    desk.fromBackend(0, event(1))
    #expect(desk.toClient().count == 1, "what comes from upstreams does")
    desk.relay.isHeld = false
    desk.relay.settle()
    #expect(desk.toBackend().map(\.serial) == [1])
    #expect(desk.toClient().isEmpty)
  }

  @Test("packets for an upstream that is being opened wait for it, others do not wait for them")
  func opening() {
    let desk = Desk()
    desk.homes[.storage] = desk.add()
    desk.fromClient(call(1, 84), call(2))
    #expect(desk.toBackend(0).map(\.serial) == [2])
    desk.relay.call(1, serial: 0, call(0, Remote.authList))
    desk.relay.settle()
    #expect(desk.toBackend(1).map(\.header.procedure) == [Remote.authList])
    desk.fromBackend(1, reply(0, Remote.authList))
    #expect(desk.answers.map(\.slot) == [1])
    #expect(desk.toClient().isEmpty)
    desk.relay.upstreamIsOpen(1)
    desk.relay.settle()
    #expect(desk.toBackend(1).map(\.serial) == [1])
  }
}
