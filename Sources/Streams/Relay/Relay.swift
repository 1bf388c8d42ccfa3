// The connection of one client, its upstream connections, and the data between them.
// Relay+Client.swift and Relay+Upstream.swift route single packets.

/// The relay between a client and its upstreams. It scans received bytes for packet edges, enqueues each packet for its
/// destination as a slice of the segment it arrived in, and sends each queue as far as its socket accepts. It reads a
/// source only while the queues for its packets are below the high watermark (backpressure).
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
  /// More than the high watermark is queued for an upstream.
  var isCongested = false
  var accounts: RelayAccounts

  /// The client's CONNECT_OPEN has succeeded. Before that the owner answers every call.
  public var isOpen = false
  /// No packet of the client is routed except keepalive, because the session is answering a call or draining.
  public var isHeld = false
  var front = ClientFront.free
  var largePacket = LargePacket.dropped
  /// The client sends large packets to one daemon.
  var bulkUpload: BulkUpload?
  /// When the client last sent a call or received a reply.
  var calledAt = 0.0
  /// Calls that only read are kept until they are answered, so that they can be sent again to the next daemon.
  public var keepsCalls = false

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
    if ready.contains(.read) { readClient() }
    settle()
  }

  private func readClient() {
    let most =
      client.received &+ (bulkUpload == nil ? Relay.bytesPerTurn : Relay.pipedBytesPerTurn)
    while canReadClient, receiveFromClient() {
      routeFromClient()
      guard client.receiveBuffer.wasFilled, client.received < most else { return }
    }
  }

  /// An upstream's socket is ready.
  public func upstreamReady(_ slot: Int, _ ready: Interest) {
    guard let upstream = upstreams[slot] else { return }
    if ready.contains(.write) {
      upstream.link.scheduler.unblock()
      if bulkUpload?.upstream === upstream {
        // Its client, whose bytes waited in the kernel, need not be waited for.
        upstream.link.flush(at: now)
        readClient()
      }
    }
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

  /// Bytes read from one socket in a turn, for fairness among clients. The read that reaches the limit is the last of
  /// the turn, so a turn relays at most one segment more: 1.7 ms at the 2.5 GiB/s of one download. Compared with no
  /// limit, downloads had 0.81 of the rate and 1.25 of the processor time with 1 MiB, and 1.02 and 0.97 with 4 MiB
  /// (medians of 4 and 6 rounds, relay and ends on a processor each).
  static let bytesPerTurn: UInt64 = 4 << 20

  /// The same for an upload through a pipe, which hardly ever has to wait for its daemon. A keystroke beside such an
  /// upload and a download on its connection was echoed within 64 to 105 ms (99 %, 3 runs of 4 s) with 4 MiB, 16 to
  /// 17 ms with 512 KiB, and 6 to 10 ms with this, as with copying (7 to 14 ms). The upload alone took 0.46 of HAProxy's
  /// processor time instead of 0.34 with 4 MiB (8 rounds of each).
  static let pipedBytesPerTurn: UInt64 = 256 << 10

  /// Routes and sends until no more progress is possible. The caller must call it after each change from outside.
  public func settle() {
    var progress = true
    var isAnyPaused = false
    while progress {
      progress = false
      client.flush(at: now)
      // A client that accepts no data cannot receive an answer.
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
    if isCongested || isAnyPaused || awaitsBulkDaemon || !metered.isEmpty
      || accounts.pauses.isAnyOn
    {
      notePauses()
    }
  }

  /// Compares the queues for the upstreams with the watermarks. True: an upstream is paused.
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

  /// Drains an upstream that accepts no more data. The relay still reads and forwards the packets that the daemon has
  /// sent: replies to calls that it has carried out, or the error of a stream. Then the connection ends.
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

  /// Enqueues a packet of the broker's own for the client. `settle` sends it.
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

  /// The owner has answered the call that it took. The packets behind that call may be routed.
  public func resume() {
    if case .awaitsOwner = front { front = .free }
  }

  /// Provides the route for a driver's calls, which the owner did not know when the relay asked.
  public func provide(_ route: Result<Route, RemoteError>, for driver: Driver) {
    guard front.driver == driver else { return }
    front.provide(route.map { note($0, for: driver) })
  }

  /// Stores a lasting route. Returns the slot that the route leads to.
  func note(_ route: Route, for driver: Driver) -> Int {
    if route.isLasting { upstreams.setRoute(route.slot, to: driver) }
    return route.slot
  }

  /// Enqueues a call of the broker's own for an upstream. Its reply goes to the owner.
  ///
  /// - Parameter mayBeLarge: the owner receives an empty body instead of one that is too large to be buffered.
  public func call(
    _ slot: Int, serial: UInt32, _ packet: [UInt8], behindClient: Bool = false,
    mayBeLarge: Bool = false
  ) {
    guard let upstream = upstreams[slot] else { return }
    upstream.ownSerial = serial
    upstream.ownReplyMayBeLarge = mayBeLarge
    upstream.link.receiveBuffer.largestWhole = max(limits.largestWhole, Limits.ownReply)
    let sendQueue = behindClient ? upstream.fromClient : upstream.link.own
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
  }

  func append(_ packet: [UInt8], to sendQueue: SendQueue) {
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
  }

  /// Drops everything that the client sends from now on. Packets for the client are still sent. The owner calls it when
  /// no upstream is left, and never from within `takes`.
  public func discardClient() {
    front = .discarded
    endBulkUpload()
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

  /// Releases every segment, and closes no descriptor: another process has them.
  func abandon() {
    let transport = ParkedTransport(for: client.transport)
    bulkUpload = nil
    client.clear(by: transport)
    for slot in upstreams.indices { upstreams[slot]?.link.clear(by: transport) }
    upstreams.removeAll()
    metered.removeAll()
    largePacket = .dropped
    front = .free
  }

  private func release() {
    bulkUpload = nil
    client.clear()
    for slot in upstreams.indices { upstreams[slot]?.link.clear() }
    upstreams.removeAll()
    metered.removeAll()
    largePacket = .dropped
    if front.isCallForRoute { front = .free }
  }
}
