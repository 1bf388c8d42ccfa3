// The relay between a client and up to three backends, with everything going wrong that can.
@testable import Streams

/// One run of the relay against simulated ends, all from one seed.
final class RelayWorld: RelayOwner {
  static let segment = 256
  static let largestWhole = 320
  static let watermarks = Watermarks(high: 512, ahead: 512, own: 256, splicedPayload: 40)

  let seed: UInt64
  var random: Seed
  let pool = SegmentPool(capacity: RelayWorld.segment, spare: 4)
  let client: SimulatedClient
  private var made: Relay?
  var relay: Relay { made! }
  var backends: [SimulatedBackend] = []
  /// Drivers with a daemon of their own in this world.
  let modular: Set<Driver>
  var deaths: Set<Driver> = []
  var mainIsGone = false
  /// In some worlds the end of the main daemon is that of the client's connection.
  let endsWithMain: Bool
  var ownError: [UInt32] = []
  /// In some worlds streams have a rate.
  let meters: [Meter]
  /// How often the relay was moved.
  private(set) var moveCount = 0

  init(seed: UInt64) {
    self.seed = seed
    random = Seed(seed)
    meters = seed % 3 == 0 ? [Meter(rate: 20_000), Meter(rate: 8_000)] : []
    endsWithMain = seed % 2 == 0
    modular = random.once(in: 2) ? [.storage, .network] : random.once(in: 2) ? [.storage] : []
    client = SimulatedClient(seed: random.next())
    client.socket.capacity = random.pick(64...2000)
    client.socket.makesRecords = seed % 4 == 1
    // Half of the clients come over TCP.
    client.socket.carriesDescriptors = seed / 4 % 2 == 0
    // Where streams have a rate, packets of one serial may change their order.
    client.sharesSerials = meters.isEmpty
    made = Relay(
      client: client.socket, owner: self, pool: pool, maxRequests: random.pick(1...6),
      watermarks: RelayWorld.watermarks, largestWhole: RelayWorld.largestWhole)
    _ = open(.hypervisor)
    relay.isOpen = true
  }

  // MARK: The owner

  func home(_ driver: Driver) -> Driver { modular.contains(driver) ? driver : .hypervisor }

  func open(_ driver: Driver) -> Int {
    let backend = SimulatedBackend(
      number: backends.count,
      slot: relay.upstreams.indices.first { relay.upstreams[$0] == nil }
        ?? relay.upstreams.indices.count,
      driver: driver, seed: random.next())
    backend.socket.capacity = random.pick(64...2000)
    backend.socket.makesRecords = seed % 5 == 2
    backend.socket.pipeRoom = backend.socket.makesRecords ? 0 : 64 + Int(seed % 700)
    let slot = relay.add(upstream: backend.socket)
    if slot != backend.slot { backend.problem = "it has slot \(slot)" }
    backends.append(backend)
    return slot
  }

  func route(to driver: Driver) -> Result<Route, RemoteError>? {
    let home = home(driver)
    if let alive = backends.last(where: { $0.driver == home }), relay.upstreams[alive.slot] != nil,
      !(home == .hypervisor && mainIsGone), isCurrent(alive)
    {
      return .success(Route(slot: alive.slot, isLasting: random.once(in: 2)))
    }
    if home == .hypervisor {
      return .failure(RemoteError(.internalError, "client socket is closed"))
    }
    return .success(Route(slot: open(home), isLasting: true))
  }

  private func isCurrent(_ backend: SimulatedBackend) -> Bool {
    relay.upstreams[backend.slot]?.link.transport === backend.socket
  }

  func meters(for kind: StreamKind) -> [Meter] { meters }
  func takes(_ call: PacketHeader, body: [UInt8]) -> Bool { false }
  func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8]) {}

  func upstream(_ slot: Int, ended reason: LinkEnd) {
    let backend = backends.last { $0.slot == slot && isCurrent($0) }
    deaths.insert(backend?.driver ?? .hypervisor)
    if backend?.driver == .hypervisor { mainIsGone = true }
    let error = RemoteError(.systemError, "backend is gone", int1: 5)
    relay.remove(upstream: slot, telling: error)
    guard mainIsGone, endsWithMain, !relay.discardsClient else { return }
    for slot in relay.upstreams.indices { relay.remove(upstream: slot, telling: error) }
    relay.discardClient()
  }

  // MARK: Steps

  func relayTurn(_ which: Int) {
    guard relay.clientEnd == nil else { return }
    let due = relay.nextMeteredTime
    relay.now += 0.01
    if let due, due <= relay.now { relay.settle() }
    guard relay.clientEnd == nil else { return }
    if which == 0 {
      let ready = readiness(client.socket, relay.clientInterest)
      if !ready.isEmpty { relay.clientReady(ready) }
      return
    }
    let backend = backends[which - 1]
    guard isCurrent(backend) else { return }
    let ready = readiness(backend.socket, relay.upstreamInterest(backend.slot))
    if !ready.isEmpty { relay.upstreamReady(backend.slot, ready) }
  }

  private func readiness(_ socket: ScriptedTransport, _ interest: Interest) -> Interest {
    var ready: Interest = []
    if interest.contains(.read), socket.isReadable { ready.insert(.read) }
    if interest.contains(.write), socket.isWritable { ready.insert(.write) }
    return ready
  }

  /// Another relay, made from what the one before has written, takes its place with the same connections.
  func handOver() -> String? {
    let old = relay
    guard old.clientEnd == nil, old.isMovable else { return nil }
    do throws(Violation) {
      var written = SnapshotCoder()
      try old.code(&written) { _ in nil }
      var coder = SnapshotCoder(reading: written.bytes, descriptors: written.descriptors)
      let new = Relay(
        client: client.socket, owner: self, pool: pool, maxRequests: old.maxRequests,
        watermarks: RelayWorld.watermarks, largestWhole: RelayWorld.largestWhole)
      new.now = old.now
      try new.code(&coder) { old.upstreams[$0]?.link.transport }
      let problem = SnapshotCheck.problem(written, coder) { (coder) throws(Violation) in
        try new.code(&coder) { _ in nil }
      }
      if let problem { return problem }
      old.abandon()
      made = new
      new.settle()
      moveCount += 1
    } catch {
      return "the snapshot is refused: \(error)"
    }
    return nil
  }

  func openHeld(_ backend: SimulatedBackend) {
    guard !backend.isOpen, isCurrent(backend) else { return }
    backend.isOpen = true
    relay.upstreamIsOpen(backend.slot)
    relay.settle()
  }

  func chaos() {
    switch random.pick(0...11) {
    case 0...2: client.act(&random, mayStart: true)
    case 3: client.read()
    case 4...6:
      if let backend = backends.randomElement(using: &random), !backend.isDead {
        backend.read()
        backend.act(&random)
      }
    case 7: relayTurn(0)
    case 8...9: relayTurn(random.pick(1...backends.count))
    case 10: if let backend = backends.randomElement(using: &random) { openHeld(backend) }
    default:
      if random.once(in: 4) { client.socket.isStalled.toggle() }
      if random.once(in: 4), let backend = backends.randomElement(using: &random) {
        backend.socket.isStalled.toggle()
      }
      if random.once(in: 30), let backend = backends.randomElement(using: &random), !backend.isDead
      {
        backend.die(&random)
      }
      if random.once(in: 400) { client.die() }
    }
  }

  /// Everybody does their work, nobody stalls or dies: all that was begun must come to its end.
  func calm() -> Bool {
    client.socket.isStalled = false
    for round in 0..<4000 {
      for backend in backends {
        backend.socket.isStalled = false
        openHeld(backend)
      }
      client.act(&random, mayStart: false)
      client.read()
      relayTurn(0)
      for (index, backend) in backends.enumerated() {
        if !backend.isDead {
          backend.read()
          backend.act(&random)
        }
        relayTurn(index + 1)
      }
      if relay.clientEnd != nil { return true }
      if relay.discardsClient, relay.waitingForClient == 0 { return true }
      if round % 8 == 0, client.isQuiet, !client.isDead, relay.waitingForClient == 0,
        backends.allSatisfy({ $0.isQuiet && ($0.socket.available == 0 || !isCurrent($0)) })
      {
        return true
      }
    }
    return false
  }

  // MARK: What must hold

  /// Bytes that may wait: the mark, what one read adds, and the broker's own small packets.
  private var bound: Int {
    (relay.upstreams.indices.count * (meters.isEmpty ? 1 : 2) + relay.upstreams.draining.count + 2)
      * (RelayWorld.watermarks.high + 2 * RelayWorld.segment + RelayWorld.largestWhole + 600)
  }

  func checkBounds() -> String? {
    if relay.waitingForClient > bound {
      return "\(relay.waitingForClient) bytes wait for the client"
    }
    if relay.waitingForUpstreams > bound {
      return "\(relay.waitingForUpstreams) bytes wait for the upstreams"
    }
    if client.socket.mixedRecords > 0 || backends.contains(where: { $0.socket.mixedRecords > 0 }) {
      return "a record holds bytes of two packets"
    }
    if backends.contains(where: { $0.socket.pipeMistakes > 0 }) {
      return "bytes have passed the content of a pipe, or the pipe was not open"
    }
    return client.problem ?? backends.lazy.compactMap { $0.problem }.first
  }

  func checkEnd() -> String? {
    if let end = relay.clientEnd {
      switch end {
      case .brokenOff where !deaths.isEmpty: break
      case .closed where client.isDead, .failed where client.isDead: break
      default: return "client ended: \(end)"
      }
    } else if client.partial > 0 {
      return "client is left with \(client.partial) bytes of a packet"
    }
    if relay.discardsClient, relay.clientEnd == nil {
      guard relay.callsUnderWay.isEmpty, client.answered == relay.counters.calls else {
        return "\(client.answered) of \(relay.counters.calls) calls were answered before the end"
      }
    }
    for serial in client.errors where deaths.isEmpty {
      // Only a refused call with descriptors fails by itself.
      if !ownErrors.contains(serial) { return "call \(serial) failed although nobody died" }
    }
    return checkForwarded()
  }

  private var ownErrors: Set<UInt32> {
    Set(
      client.sent.values.joined().compactMap { packet in
        let header = packet.withUnsafeBytes { PacketHeader(at: $0.baseAddress!) }
        return header.kind == .callWithDescriptors ? header.serial : nil
      })
  }

  /// What a backend received is what the client sent, byte for byte and in order. Stream packets may be
  /// missing where the stream was over, anything behind a death.
  private func checkForwarded() -> String? {
    // Streams with a rate let others pass, but none of their own packets.
    guard meters.isEmpty else {
      let serials = Set(client.sent.values.joined().map(RelayWorld.serial))
      for serial in serials {
        if let problem = checkForwarded(where: { RelayWorld.serial($0) == serial }) {
          return problem
        }
      }
      return nil
    }
    return checkForwarded { _ in true }
  }

  private static func serial(_ packet: [UInt8]) -> UInt32 {
    packet.withUnsafeBytes { PacketHeader(at: $0.baseAddress!).serial }
  }

  private func checkForwarded(where isMeant: ([UInt8]) -> Bool) -> String? {
    // Drivers that share a daemon interleave; their packets are told apart by their bytes.
    for driver in [Driver.hypervisor, .storage, .network] {
      let sent = (client.sent[driver] ?? []).filter(isMeant)
      let mine = Set(sent)
      var position = 0
      for backend in backends where backend.driver == home(driver) {
        for packet in backend.received where mine.contains(packet) {
          while position < sent.count, sent[position] != packet {
            let kind = sent[position].withUnsafeBytes { PacketHeader(at: $0.baseAddress!).kind }
            if kind != .stream, deaths.isEmpty, !client.isDead {
              return "a call to \(driver) was lost"
            }
            position += 1
          }
          if position == sent.count { return "a packet to \(driver) came twice or out of order" }
          position += 1
        }
      }
    }
    return nil
  }

  func run() -> String? {
    let steps = random.pick(50...400)
    for _ in 0..<steps {
      chaos()
      if random.once(in: 12), let problem = handOver() { return problem }
      if let problem = checkBounds() { return problem }
    }
    guard calm() else {
      return "still busy: \(relay.callsUnderWay.count) calls, waiting for client "
        + "\(relay.waitingForClient), for upstreams \(relay.waitingForUpstreams), "
        + "client \(client.awaited.count) awaited, pongs \(client.pongs)/\(client.pingsSent)"
    }
    client.read()
    for backend in backends where !backend.isDead { backend.read() }
    if let problem = checkBounds() ?? checkEnd() { return problem }
    relay.clear()
    if pool.heldCount != 0 { return "\(pool.heldCount) segments are still held" }
    return nil
  }
}
