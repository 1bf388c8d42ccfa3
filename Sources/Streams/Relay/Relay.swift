// Everything one client has under way: its connection, its upstream connections, and what travels between them.
// The ways of single packets are in Relay+Client.swift and Relay+Upstream.swift.

/// The relay between a client and its upstreams. It scans every byte that arrives for packet edges, queues each packet
/// where it belongs as a slice of the segment it arrived in, and sends each queue as far as its socket accepts. A
/// source is read only while what it sent has somewhere to go.
public final class Relay {
  let pool: SegmentPool
  unowned(unsafe) let owner: any RelayOwner
  var limits: RelayLimits
  /// The time in seconds, on the owner's clock. The owner sets it before each turn.
  public var now = 0.0

  let client: Link
  var upstreams = UpstreamTable()
  var calls = CallTable()
  var metered = MeteredStreams()
  /// More than the high watermark is queued for some upstream.
  var isCongested = false
  var accounts: RelayAccounts

  /// The client's CONNECT_OPEN has succeeded. Before that the owner answers every call.
  public var isOpen = false
  /// No packet of the client is routed but keepalive: the session is busy with a call of the broker's own.
  public var isHeld = false
  var front = ClientFront.free
  var largePacket = LargePacket.dropped
  /// The client asked for an event when the backend closes the connection.
  public internal(set) var hasCloseCallback = false

  /// - Parameters:
  ///   - owner: must outlive the relay.
  ///   - largestWhole: packets of up to this many bytes are forwarded whole, larger ones in parts as they arrive.
  public init(
    client transport: any Transport, owner: any RelayOwner, pool: SegmentPool, maxRequests: Int,
    watermarks: Watermarks = Watermarks(), largestWhole: Int = Limits.usualPacket
  ) {
    self.owner = owner
    self.pool = pool
    accounts = RelayAccounts(for: owner)
    limits = RelayLimits(
      watermarks: watermarks, largestWhole: largestWhole, maxRequests: maxRequests)
    client = Link(
      transport: transport, pool: pool, announcing: .callWithDescriptors,
      largestWhole: largestWhole)
  }

  deinit { release() }

  // MARK: A turn

  /// The client's socket is ready.
  public func clientReady(_ ready: Interest) {
    if ready.contains(.write) { client.scheduler.unblock() }
    if ready.contains(.read) {
      let most = client.received &+ Relay.bytesPerTurn
      while canReadClient, client.receive() {
        routeFromClient()
        guard client.receiveBuffer.wasFilled, client.received < most else { break }
      }
    }
    settle()
  }

  /// An upstream's socket is ready.
  public func upstreamReady(_ slot: Int, _ ready: Interest) {
    guard let upstream = upstreams[slot] else { return }
    if ready.contains(.write) { upstream.link.scheduler.unblock() }
    if ready.contains(.read) {
      let most = upstream.link.received &+ Relay.bytesPerTurn
      while upstream.link.end == nil, !upstream.isPaused, upstream.link.receive() {
        routeFromUpstream(upstream, slot)
        client.flush(at: now)
        pauseOrResume(upstream, slot)
        guard upstream.link.receiveBuffer.wasFilled, upstream.link.received < most else { break }
      }
    }
    settle()
  }

  /// Bytes that are read from one socket in a turn: fairness among clients. The read that reaches it is the last of the
  /// turn, so a turn relays one segment more at most: 1.7 ms at the 2.5 GiB/s of one download. With 1 MiB downloads
  /// had 0.81 of the rate they have without a bound, at 1.25 of the processor time; with 4 MiB 1.02 and 0.97 (medians
  /// of 4 and 6 rounds, relay and ends on a processor each).
  static let bytesPerTurn: UInt64 = 4 << 20

  /// Moves everything that can move, until nothing can. The caller must call it after each change from outside.
  public func settle() {
    var progress = true
    var isAnyPaused = false
    while progress {
      progress = false
      client.flush(at: now)
      // A client that accepts no data can receive no answer.
      if let failure = client.sendFailure { client.end = client.end ?? failure }
      for slot in upstreams.indices {
        guard let upstream = upstreams[slot] else { continue }
        upstream.link.flush(at: now)
        if upstream.link.sendFailure != nil { drain(upstream, slot) }
        pauseOrResume(upstream, slot)
        guard let end = upstream.link.end, !upstream.isEndReported else { continue }
        upstream.isEndReported = true
        owner.upstream(slot, ended: end)
        progress = true
      }
      isAnyPaused = updateBackpressure()
      if canRoute, client.receiveBuffer.waiting > 0, routeFromClient() { progress = true }
    }
    client.receiveBuffer.settle()
    for slot in upstreams.indices { upstreams[slot]?.link.receiveBuffer.settle() }
    if !upstreams.draining.isEmpty { removeDrained() }
    if !metered.isEmpty { removeDrainedStreams() }
    if isCongested || isAnyPaused || !metered.isEmpty || accounts.pauses.isAnyOn { notePauses() }
  }

  /// Compares the queues to the upstreams with the watermarks. True: some upstream is paused.
  private func updateBackpressure() -> Bool {
    var most = 0
    var isAnyPaused = false
    for slot in upstreams.indices {
      guard let upstream = upstreams[slot] else { continue }
      most = max(most, upstream.fromClient.queue.bytes)
      if upstream.isPaused { isAnyPaused = true }
    }
    isCongested = limits.watermarks.isExceeded(by: most, wasExceeded: isCongested)
    metered.updateBackpressure(limits.watermarks)
    return isAnyPaused
  }

  private func removeDrained() {
    upstreams.draining.removeAll { sendQueue in
      guard sendQueue.queue.isEmpty else { return false }
      client.scheduler.remove(sendQueue, client.transport)
      return true
    }
  }

  /// The daemon accepts no more data. What it has sent before is still read and relayed: replies to calls it has
  /// carried out, or why a stream failed. Then its connection has ended.
  private func drain(_ upstream: UpstreamLink, _ slot: Int) {
    while upstream.link.end == nil, !upstream.isPaused {
      guard upstream.link.receive() else {
        if let failure = upstream.link.sendFailure {
          upstream.link.end = upstream.link.end ?? failure
        }
        return
      }
      routeFromUpstream(upstream, slot)
      client.flush(at: now)
      pauseOrResume(upstream, slot)
    }
  }

  private func pauseOrResume(_ upstream: UpstreamLink, _ slot: Int) {
    var queued = upstream.toClient.queue.bytes
    if !metered.isEmpty {
      queued = max(queued, metered.bytesDown(from: slot))
      if mustFinish(upstream.passingDown) { queued = 0 }
    }
    upstream.isPaused = limits.watermarks.isExceeded(by: queued, wasExceeded: upstream.isPaused)
  }

  // MARK: The broker's own packets

  /// Queues a packet of the broker's own for the client; `settle` sends it.
  public func reply(_ packet: [UInt8]) {
    guard client.end == nil else { return }
    packet.withUnsafeBytes { bytes in
      client.own.queue.append(copying: bytes)
      guard let base = bytes.baseAddress, bytes.count >= Limits.header else { return }
      let header = PacketHeader(at: base)
      if header.kind == .reply {
        accounts.answerCounts?.note(header.program, header.procedure, header.status)
      }
    }
  }

  /// The owner has answered the call that it took: the packets behind that call may be routed.
  public func resume() {
    if case .awaitsOwner = front { front = .free }
  }

  /// The route for a driver's calls, which the owner did not know when the relay asked.
  public func provide(_ route: Result<Route, RemoteError>, for driver: Driver) {
    guard front.driver == driver else { return }
    front.provide(route.map { note($0, for: driver) })
  }

  /// Remembers a lasting route. The slot it leads to.
  func note(_ route: Route, for driver: Driver) -> Int {
    if route.isLasting { upstreams.setRoute(route.slot, to: driver) }
    return route.slot
  }

  /// Queues a call of the broker's own for an upstream; its reply goes to the owner.
  public func call(_ slot: Int, serial: UInt32, _ packet: [UInt8], behindClient: Bool = false) {
    guard let upstream = upstreams[slot] else { return }
    upstream.ownSerial = serial
    upstream.link.receiveBuffer.largestWhole = max(limits.largestWhole, Limits.ownReply)
    let sendQueue = behindClient ? upstream.fromClient : upstream.link.own
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
  }

  func append(_ packet: [UInt8], to sendQueue: SendQueue) {
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
  }

  /// Drops what the client sends from now on; packets for it are still sent. The owner calls it when no upstream is
  /// left, and not from within `takes`.
  public func discardClient() {
    front = .discarded
    largePacket = .dropped
    client.receiveBuffer.clear(client.transport)
  }

  /// Ends every call and releases every segment and descriptor.
  public func clear() {
    for slot in upstreams.indices {
      calls.removeAll(upstream: slot) { call in ended(call, .clientGone) }
    }
    release()
  }

  private func release() {
    client.clear()
    for slot in upstreams.indices { upstreams[slot]?.link.clear() }
    upstreams.removeAll()
    metered.removeAll()
    largePacket = .dropped
    if front.isCallForRoute { front = .free }
  }
}
