// A session with event registrations whose daemon is lost and comes back.
import Testing

@testable import Simulator
@testable import Streams

@Suite("session: registrations and a lost daemon")
struct SessionEventsTests {
  private static let libvirtd = UpstreamTarget(
    daemon: "libvirtd", path: "/run/libvirt", uri: "qemu:///system", servesAll: true)
  private static let register: Int32 = 316
  private static let list: Int32 = 273

  /// A daemon's domains, by name: number and whether they are persistent and paused.
  private typealias Domains = [(name: String, id: Int32, isPersistent: Bool, isPaused: Bool)]

  private func named(_ name: String) -> [UInt8] {
    var writer = XDRWriter()
    writer.string(name)
    return writer.bytes + [UInt8](repeating: name.utf8.first ?? 0, count: 16)
  }

  private func reply(_ call: Arrived, _ result: [UInt8]) -> [UInt8] {
    Packets.make(
      PacketHeader(
        program: call.header.program, procedure: call.header.procedure, kind: .reply,
        serial: call.serial), arguments: result)
  }

  /// Answers the broker's own calls: the login, registrations (the callback IDs count up from `callback`) and lists.
  private func answer(
    _ harness: SessionHarness, _ domains: Domains, callback first: UInt32, refusing: Int32? = nil
  ) -> [Int32] {
    var callback = first
    var asked: [Int32] = []
    var hasWaited = false
    while true {
      let calls = harness.toBackend(harness.lastUpstream)
      guard !calls.isEmpty || !hasWaited else { return asked }
      if calls.isEmpty {
        // Until the daemon has settled.
        hasWaited = true
        harness.wait(1.1)
      }
      for call in calls {
        asked.append(call.header.procedure)
        var result: [UInt8] = []
        switch call.header.procedure {
        case refusing:
          harness.fromBackend(
            harness.lastUpstream,
            Packets.error(answering: call.header, RemoteError(.accessDenied, "no")))
          continue
        case Remote.authList: result = AuthListResult(types: [0]).encoded
        case Self.register:
          result = Stamp.bytes(callback)
          callback += 1
        case Self.list:
          let flags = Stamp.word([UInt8](repeating: 0, count: 28) + call.payload, 1)
          let chosen = domains.filter { domain in
            flags == 4 ? domain.isPersistent : flags == 32 ? domain.isPaused : flags != 128
          }
          var writer = XDRWriter()
          writer.array(chosen) { writer, domain in
            writer.append(named(domain.name))
            writer.int32(domain.id)
          }
          result = writer.bytes
        default: break
        }
        harness.fromBackend(harness.lastUpstream, reply(call, result))
      }
    }
  }

  private func lifeCycle(_ callback: UInt32, _ name: String, _ id: Int32, _ event: UInt32)
    -> [UInt8]
  {
    Packets.make(
      PacketHeader(procedure: 318, kind: .message, serial: 1),
      arguments: Stamp.bytes(callback) + named(name) + Stamp.bytes(UInt32(bitPattern: id), event, 0)
    )
  }

  /// Callback, first letter of the name, number, event.
  private func events(_ harness: SessionHarness) -> [[Int32]] {
    harness.toClient().filter { $0.header.kind == .message }.map { arrived in
      let packet = [UInt8](repeating: 0, count: 28) + arrived.payload
      let letter = arrived.payload.count > 8 ? Int32(arrived.payload[8]) : -1
      let words = arrived.payload.count / 4
      return [
        Int32(bitPattern: Stamp.word(packet, 0) ?? 0), letter,
        Int32(bitPattern: Stamp.word(packet, words - 3) ?? 0),
        Int32(bitPattern: Stamp.word(packet, words - 2) ?? 0),
      ]
    }
  }

  /// A client that follows the life cycles of all domains with callback 2, at a daemon with these domains.
  private func follow(
    _ harness: SessionHarness, _ domains: Domains, event: UInt32 = 0
  ) {
    harness.open(Self.libvirtd)
    harness.fromClient(call(2, Self.register, Stamp.bytes(event, 0)))
    _ = answer(harness, domains, callback: 2)
    #expect(harness.toClient().map(\.payload) == [Stamp.bytes(2)])
  }

  private let a = Int32(UInt8(ascii: "a"))
  private let b = Int32(UInt8(ascii: "b"))

  @Test("the client keeps its callback, and receives what it has missed before what comes then")
  func missed() {
    let harness = SessionHarness()
    follow(harness, [("a", 5, true, false), ("b", -1, true, false)])
    harness.backendEnds(harness.lastUpstream)
    #expect(!harness.session.isLost)
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    let asked = answer(harness, [("a", -1, true, false), ("b", 9, true, false)], callback: 0)
    #expect(asked.suffix(5) == [Self.register, Self.list, Self.list, Self.list, Self.list])
    #expect(events(harness) == [[2, a, -1, 5], [2, b, 9, 2]])
    harness.fromBackend(harness.lastUpstream, lifeCycle(0, "b", 9, 3))
    #expect(events(harness) == [[2, b, 9, 3]])
    // A callback that the client does not have.
    harness.fromBackend(harness.lastUpstream, lifeCycle(7, "b", 9, 4))
    #expect(events(harness).isEmpty)
  }

  @Test("an event that comes before the daemon is surveyed waits, and is not told twice")
  func held() {
    let harness = SessionHarness()
    follow(harness, [("a", 5, true, false)])
    harness.backendEnds(harness.lastUpstream)
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    harness.fromBackend(harness.lastUpstream, lifeCycle(0, "a", 6, 2))
    #expect(events(harness).isEmpty)
    _ = answer(harness, [("a", 6, true, false)], callback: 0)
    // It has stopped in the gap; that it has started is the daemon's own event.
    #expect(events(harness) == [[2, a, -1, 5], [2, a, 6, 2]])
  }

  @Test("events of the daemon before it was lost count")
  func followed() {
    let harness = SessionHarness()
    follow(harness, [("a", 5, true, false)])
    harness.fromBackend(harness.lastUpstream, lifeCycle(2, "a", -1, 5))
    harness.fromBackend(harness.lastUpstream, lifeCycle(2, "b", 6, 2))
    #expect(events(harness).count == 2)
    harness.backendEnds(harness.lastUpstream)
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    _ = answer(harness, [("a", -1, true, false), ("b", 6, false, false)], callback: 4)
    #expect(events(harness).isEmpty)
  }

  @Test("a registration made later, whose number the client has already, gets another one")
  func collision() {
    let harness = SessionHarness()
    follow(harness, [])
    harness.backendEnds(harness.lastUpstream)
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    _ = answer(harness, [], callback: 0)
    harness.fromClient(call(3, Self.register, Stamp.bytes(3, 0)))
    _ = answer(harness, [], callback: 2)
    let made = harness.toClient()
    #expect(made.map(\.serial) == [3] && made.map(\.payload) == [Stamp.bytes(0)])
    // Its end names the daemon's number.
    harness.fromClient(call(4, 317, Stamp.bytes(0)))
    let ended = harness.toBackend(harness.lastUpstream)
    #expect(ended.map(\.payload) == [Stamp.bytes(2)])
    harness.fromClient(call(5, 317, Stamp.bytes(2)))
    #expect(harness.toBackend(harness.lastUpstream).map(\.payload) == [Stamp.bytes(0)])
  }

  @Test("a registration that the client ends meanwhile is answered and not told of")
  func endedMeanwhile() {
    let harness = SessionHarness()
    follow(harness, [("a", 5, true, false)])
    harness.backendEnds(harness.lastUpstream)
    harness.fromClient(call(3, 317, Stamp.bytes(2)))
    #expect(harness.toClient().map(\.serial) == [3])
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    _ = answer(harness, [], callback: 0)
    #expect(events(harness).isEmpty)
    harness.fromBackend(harness.lastUpstream, lifeCycle(0, "a", 7, 2))
    #expect(events(harness).isEmpty)
  }

  @Test(
    "a registration made while the daemon is away is known, however often it is tried to reach it")
  func madeMeanwhile() {
    let harness = SessionHarness()
    follow(harness, [])
    harness.backendEnds(harness.lastUpstream)
    harness.fromClient(call(3, Self.register, Stamp.bytes(3, 0)))
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    harness.backendEnds(harness.lastUpstream)
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    _ = answer(harness, [], callback: 1)
    // The daemon gave it the number 2, which the client has.
    #expect(harness.toClient().map(\.payload) == [Stamp.bytes(0)])
  }

  @Test("a daemon that refuses a registration again ends the client's connection")
  func refused() {
    let harness = SessionHarness()
    follow(harness, [])
    harness.backendEnds(harness.lastUpstream)
    harness.waitForAttempt()
    harness.connect(Self.libvirtd)
    _ = answer(harness, [], callback: 0, refusing: Self.register)
    #expect(harness.session.isLost)
  }

  @Test("with `safe` a client whose events describe no state is not kept, with `always` it is")
  func stateless() {
    for policy in [ReconnectPolicy.safe, .always] {
      let harness = SessionHarness(settings: SessionSettings(reconnect: policy))
      follow(harness, [], event: 3)
      harness.backendEnds(harness.lastUpstream)
      #expect(harness.session.isLost == (policy == .safe))
      guard policy == .always else { continue }
      harness.waitForAttempt()
      harness.connect(Self.libvirtd)
      #expect(answer(harness, [], callback: 0).contains(Self.register))
      #expect(harness.session.stateText == "open")
    }
  }

  @Test("a client with more registrations than are remembered, or with a huge one, is not kept")
  func tooMany() {
    for (count, size) in [(1025, 0), (1, 5000)] {
      let harness = SessionHarness(settings: SessionSettings(reconnect: .always))
      let main = harness.open(Self.libvirtd)
      for number in 0..<UInt32(count) {
        harness.fromClient(
          call(number + 2, Self.register, Stamp.bytes(3, 0, padding: size)))
        for call in harness.toBackend(main) {
          harness.fromBackend(main, reply(call, Stamp.bytes(number)))
        }
      }
      #expect(harness.toClient().count == count)
      harness.backendEnds(main)
      #expect(harness.session.isLost)
    }
  }

  @Test(
    "a daemon that sends events and no list, or endless names, makes the client one that is not kept"
  )
  func endless() {
    for (count, name) in [(4097, "a"), (1, String(repeating: "a", count: 5000))] {
      let harness = SessionHarness()
      let main = harness.open(Self.libvirtd)
      harness.fromClient(call(2, Self.register, Stamp.bytes(0, 0)))
      let made = harness.toBackend(main).filter { $0.header.procedure == Self.register }
      for call in made { harness.fromBackend(main, reply(call, Stamp.bytes(2))) }
      for _ in 0..<count { harness.fromBackend(main, lifeCycle(2, name, 1, 2)) }
      _ = answer(harness, [], callback: 2)
      harness.backendEnds(main)
      #expect(harness.session.isLost)
    }
  }

  @Test("lists that the daemon refuses make the client one that is not kept")
  func unknown() {
    let harness = SessionHarness()
    harness.open(Self.libvirtd)
    harness.fromClient(call(2, Self.register, Stamp.bytes(0, 0)))
    _ = answer(harness, [], callback: 2, refusing: Self.list)
    harness.backendEnds(harness.lastUpstream)
    #expect(harness.session.isLost)
    let later = SessionHarness()
    follow(later, [])
    later.backendEnds(later.lastUpstream)
    later.waitForAttempt()
    later.connect(Self.libvirtd)
    _ = answer(later, [], callback: 2, refusing: Self.list)
    #expect(later.session.isLost)
  }
}
