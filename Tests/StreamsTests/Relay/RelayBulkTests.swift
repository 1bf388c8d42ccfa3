// Large packets of an upload, whose payload goes through a pipe.
import Testing

@testable import Simulator
@testable import Streams

@Suite("bulk uploads")
struct RelayBulkTests {
  /// A relay between a TCP client and a daemon with a pipe.
  private final class Scene: RelayOwner {
    let client = ScriptedTransport(seed: 1)
    let daemon = ScriptedTransport(seed: 2)
    private var made: Relay?
    var relay: Relay {
      guard let made else { preconditionFailure("made by the initializer") }
      return made
    }
    var meters: [Meter] = []

    init(meters: [Meter] = [], clientIsTCP: Bool = true) {
      self.meters = meters
      for socket in [client, daemon] {
        socket.isSmooth = true
        socket.capacity = .max
      }
      client.carriesDescriptors = !clientIsTCP
      daemon.pipeRoom = 5000
      made = Relay(
        client: client, owner: self, pool: SegmentPool(), maxRequests: 5,
        watermarks: Watermarks(splicedPayload: 1000))
      relay.upstreamIsOpen(relay.add(upstream: daemon))
      relay.isOpen = true
      send(call(1, RelayBulkTests.upload), call(2, Remote.domainOpenConsole))
      daemon.taken = []
    }

    func send(_ packets: [UInt8]...) {
      for packet in packets { client.supply(packet) }
      turn()
    }

    func turn() {
      if relay.clientInterest.contains(.read), client.isReadable { relay.clientReady(.read) }
    }

    func daemonAccepts(_ bytes: Int) {
      daemon.capacity = daemon.taken.count + bytes
      if relay.upstreamInterest(0).contains(.write) { relay.upstreamReady(0, .write) }
      turn()
    }

    /// What has reached the daemon since the last call.
    func arrived() -> [UInt8] {
      defer { daemon.taken = [] }
      return daemon.taken
    }

    func takes(_ call: PacketHeader, body: [UInt8]) -> Bool { false }
    func route(to driver: Driver) -> Result<Route, RemoteError>? {
      .success(Route(slot: 0, isLasting: true))
    }
    func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8]) {}
    func upstream(_ slot: Int, ended reason: LinkEnd) {}
    func meters(for kind: StreamKind) -> [Meter] { meters }
  }

  private static let upload = Remote.storageVolUpload

  private static func data(_ count: Int, _ first: UInt8 = 0) -> [UInt8] {
    stream(
      1, upload, .continue, (0..<count).map { UInt8(truncatingIfNeeded: $0) &* 31 &+ first })
  }

  @Test("after the first large packet the payload of the others is not read")
  func passes() throws {
    let scene = Scene()
    let packets = (0..<8).map { Self.data(3000, UInt8($0)) }
    scene.send(packets[0])
    #expect(scene.daemon.piped == 0)
    for packet in packets.dropFirst() { scene.send(packet) }
    #expect(scene.daemon.piped == 7 * 3000)
    #expect(scene.arrived() == packets.flatMap { $0 })
    let call = try #require(scene.relay.callsUnderWay.first { $0.serial == 1 })
    #expect((call.up.bytes, call.up.packets) == (8 * 3000, 8))
    #expect(scene.relay.counters.packetsUp == 10)
    #expect(scene.relay.receivedFromClient == UInt64(2 * Limits.header + 8 * 3028))
    scene.relay.clear()
  }

  @Test("packets of every other kind are read and stay in order")
  func others() {
    let scene = Scene()
    let key = stream(2, Remote.domainOpenConsole, .continue, [7])
    let packets = [
      Self.data(2000), Self.data(2000, 1), key, Self.data(2000, 2), Self.data(10), call(3),
      Self.data(2000, 3), Self.data(2000, 4), stream(1, Self.upload, .ok),
    ]
    scene.send(packets[0])
    for packet in packets.dropFirst() { scene.client.supply(packet) }
    for _ in packets { scene.turn() }
    #expect(scene.arrived() == packets.flatMap { $0 })
    #expect(scene.daemon.piped > 0)
    scene.relay.clear()
  }

  @Test("a packet that arrives in pieces is passed on in pieces")
  func pieces() {
    let scene = Scene()
    scene.send(Self.data(2000))
    _ = scene.arrived()
    let packet = Self.data(4000, 9)
    for start in stride(from: 0, to: packet.count, by: 11) {
      scene.send(Array(packet[start..<min(start + 11, packet.count)]))
    }
    #expect(scene.arrived() == packet)
    #expect(scene.daemon.piped == 4000)
    scene.relay.clear()
  }

  @Test("a daemon that accepts nothing stops the client, and later gets everything once")
  func backpressure() {
    let scene = Scene()
    scene.send(Self.data(2000))
    _ = scene.arrived()
    scene.daemon.capacity = 0
    let packets = (0..<6).map { Self.data(3000, UInt8($0)) }
    for packet in packets { scene.send(packet) }
    #expect(!scene.relay.clientInterest.contains(.read))
    #expect(scene.relay.upstreamInterest(0).contains(.write))
    #expect(scene.relay.waitingForUpstreams <= 5000)
    let upload = scene.relay.callsUnderWay.first { $0.serial == 1 }
    #expect(upload.map(scene.relay.pause) == .backend)
    scene.relay.now = 3
    #expect(scene.relay.pausedSeconds(by: .backend, at: 3) == 3)
    for _ in 0..<40 { scene.daemonAccepts(700) }
    #expect(scene.arrived() == packets.flatMap { $0 })
    #expect(scene.relay.waitingForUpstreams == 0)
    scene.relay.clear()
  }

  @Test("what the broker itself sends to the daemon never splits a packet")
  func ownPackets() {
    let scene = Scene()
    scene.send(Self.data(2000))
    _ = scene.arrived()
    let packet = Self.data(4000, 5)
    scene.send(Array(packet.prefix(1500)))
    scene.daemon.supply(ping)
    scene.relay.upstreamReady(0, .read)
    scene.send(Array(packet.dropFirst(1500)))
    #expect(scene.arrived() == packet + pong)
    scene.relay.clear()
  }

  @Test("PINGs behind an upload that does not move are answered once the pipe is given up")
  func readsAhead() {
    let scene = Scene()
    scene.send(Self.data(2000))
    scene.daemon.capacity = 0
    let packets = [Self.data(3000, 1), Self.data(3000, 2), Self.data(3000, 3)]
    for packet in packets { scene.send(packet) }
    scene.send(ping)
    #expect(scene.client.taken.isEmpty)
    #expect(scene.relay.isUploadingByPipe)
    scene.relay.endBulkUpload()
    for _ in 0..<4 { scene.turn() }
    #expect(scene.client.taken == pong)
    scene.daemon.taken = []
    scene.daemonAccepts(.max >> 1)
    #expect(scene.arrived() == packets.flatMap { $0 })
    scene.relay.clear()
  }

  @Test("an upload with a rate, or from a UNIX socket, is copied", arguments: [true, false])
  func copies(_ isTCP: Bool) {
    let scene = Scene(meters: isTCP ? [Meter(rate: 1_000_000_000)] : [], clientIsTCP: isTCP)
    for index in 0..<4 { scene.send(Self.data(2000, UInt8(index))) }
    for _ in 0..<4 {
      scene.relay.now += 1
      scene.relay.settle()
    }
    #expect(scene.daemon.piped == 0)
    #expect(scene.arrived().count == 4 * 2028)
    scene.relay.clear()
  }

  @Test("a client that ends within a packet ends as one whose packets are copied")
  func ends() {
    let scene = Scene()
    scene.send(Self.data(2000))
    scene.send(Array(Self.data(2000).prefix(700)))
    scene.client.isClosed = true
    scene.turn()
    #expect(scene.relay.clientEnd == .closed)
    scene.relay.clear()
  }
}
