// Descriptors that pass through a relay.
import Testing

@testable import Simulator
@testable import Streams

@Suite("relay: descriptors")
struct RelayDescriptorTests {
  /// A call that announces descriptors, without its carriers.
  private func carrying(_ serial: UInt32, _ count: UInt32, kind: PacketKind = .callWithDescriptors)
    -> [UInt8]
  {
    Stamp.packet(PacketHeader(procedure: 3, kind: kind, serial: serial), Stamp.bytes(count))
  }

  @Test("descriptors stay with their call and with their reply")
  func descriptors() {
    let harness = RelayHarness()
    harness.fromClient(carrying(1, 2), [0], descriptor: 50)
    #expect(harness.backends[0].sent.isEmpty, "half of it is not forwarded")
    harness.fromClient([0], descriptor: 51)
    #expect(harness.backends[0].sent == [.bytes(carrying(1, 2)), .descriptor(50), .descriptor(51)])
    let answer = carrying(1, 1, kind: .replyWithDescriptors)
    harness.fromBackend(0, answer)
    #expect(harness.client.sent.isEmpty)
    harness.fromBackend(0, [0], descriptor: 60)
    #expect(harness.client.sent == [.bytes(answer), .descriptor(60)])
    #expect(harness.backends[0].discarded == [50, 51], "what was sent is closed here")
    #expect(harness.client.discarded == [60])
  }

  @Test("descriptors that differ from the announced ones end the client's connection")
  func wrongDescriptors() {
    let missing = RelayHarness()
    missing.fromClient(carrying(1, 1), [0])
    #expect(missing.violation == Violation(.callDescriptorsMissing))
    let stray = RelayHarness()
    stray.fromClient([0], descriptor: 50)
    #expect(stray.violation == Violation(.descriptorUnannounced))
    let ordinary = RelayHarness()
    ordinary.fromClient(Array(call(1).prefix(5)), descriptor: 50)
    #expect(
      ordinary.violation == Violation(.descriptorOnDataByte), "before its packet is there")
  }

  @Test(
    "a wrong descriptor ends the connection at once, also while the client's calls are held back")
  func wrongWhileHeld() {
    for wrong in [[0], Array(call(9).prefix(20)), call(9)] {
      let harness = RelayHarness()
      harness.relay.isHeld = true
      harness.fromClient(carrying(1, 1), [0], descriptor: 50)
      #expect(harness.violation == nil, "this one is right, and waits")
      harness.fromClient(wrong, descriptor: 51)
      #expect(harness.violation == Violation(.descriptorOnDataByte))
    }
    let heaped = RelayHarness()
    heaped.relay.isHeld = true
    for serial in 0..<9 where heaped.relay.clientEnd == nil {
      heaped.fromClient(carrying(UInt32(serial), 32))
      for _ in 0..<32 where heaped.relay.clientEnd == nil {
        heaped.fromClient([0], descriptor: 50)
      }
    }
    #expect(heaped.violation == Violation(.tooManyDescriptorsWaiting, [256]))
  }

  @Test("before the connection is open no descriptor is accepted")
  func early() {
    let early = Violation(.descriptorBeforeOpen)
    let announced = RelayHarness(isOpen: false)
    announced.fromClient(carrying(1, 1), [0], descriptor: 50)
    #expect(announced.violation == early)
    let partly = RelayHarness(isOpen: false)
    partly.fromClient(carrying(1, 2), [0], descriptor: 50)
    #expect(partly.violation == early)
    let held = RelayHarness(isOpen: false)
    held.relay.isHeld = true
    held.fromClient(carrying(1, 1), [0], descriptor: 50)
    #expect(held.violation == early)
    let none = RelayHarness(isOpen: false)
    none.isAnswered = { _ in true }
    none.fromClient(carrying(1, 0))
    #expect(none.violation == nil, "one that announces none is a call like any other")
  }

  @Test("no descriptor is sent over a connection that cannot carry it", arguments: [20, 600])
  func withoutSocket(padding: Int) {
    let body = Stamp.bytes(1, padding: padding)
    let harness = RelayHarness(largestWhole: 128, clientCarries: false)
    harness.fromClient(
      Stamp.packet(PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1), body)
        .dropLast(10) + [])
    harness.fromClient(body.suffix(10) + [0])
    #expect(harness.violation == Violation(.descriptorsOverNetwork))
    let other = RelayHarness(largestWhole: 128, clientCarries: false)
    other.fromClient(call(1))
    let answer = Stamp.packet(
      PacketHeader(procedure: 3, kind: .replyWithDescriptors, serial: 1), body)
    other.fromBackend(0, Array(answer.dropLast(10)))
    other.fromBackend(0, body.suffix(10) + [0], descriptor: 60)
    #expect(other.violation == Violation(.descriptorRequestedOverNetwork))
    #expect(other.backends[0].discarded == [60])
    #expect(other.ended.isEmpty, "it is not the backend's mistake")
  }

  @Test(
    "descriptors that a daemon returns with a refusal are dropped, and later replies are correct")
  func sentBack() {
    let harness = RelayHarness()
    harness.fromClient(carrying(1, 2), [0], descriptor: 50)
    harness.fromClient([0], descriptor: 51)
    harness.fromClient(call(2))
    harness.fromBackend(0, reply(1, 3, .error, Stamp.bytes(39)), [0], descriptor: 70)
    harness.fromBackend(0, [0], descriptor: 71)
    harness.fromBackend(0, reply(2))
    #expect(harness.toClient().map(\.serial) == [1, 2])
    #expect(harness.backends[0].discarded == [50, 51, 70, 71])
    #expect(harness.ended.isEmpty)
  }

  @Test("a reply without its announced descriptors ends the upstream")
  func replyWithout() {
    let harness = RelayHarness()
    harness.fromClient(call(1))
    harness.fromBackend(0, carrying(1, 1, kind: .replyWithDescriptors), [0])
    #expect(harness.upstreamViolation == Violation(.replyDescriptorsMissing))
    #expect(harness.toClient().map(\.header.status) == [.error])
  }

  @Test(
    "a call with descriptors for a daemon that cannot receive any is refused, and they are closed"
  )
  func otherHost() {
    let harness = RelayHarness()
    harness.backends[0].carriesDescriptors = false
    harness.fromClient(carrying(1, 1), [0], descriptor: 50)
    harness.fromClient(call(2))
    #expect(harness.toClient().map(\.header.status) == [.error])
    #expect(harness.client.discarded == [50])
    #expect(harness.backends[0].sent == [.bytes(call(2))])
    #expect(harness.violation == nil && harness.ended.isEmpty)
  }
}
