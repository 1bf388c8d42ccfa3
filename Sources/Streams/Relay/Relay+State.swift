// Values derived from the state of the relay.

extension Relay {
  /// The packet at the client's front can be routed. At the limit of calls, the next call and all packets behind it
  /// wait. Stream packets in front of it do not wait, because a keystroke must not wait for a reply. The rest of a call
  /// whose beginning is queued does not wait either, because a reply may depend on it.
  var canRoute: Bool {
    client.end == nil && !isHeld && isFrontReady && !isFull
      && client.own.queue.bytes <= limits.watermarks.own
  }

  private var isFrontReady: Bool {
    switch front {
    case .free, .hasRoute: true
    case .awaitsOwner, .awaitsRoute, .discarded: false
    case .awaitsReply: calls.awaitedCount < limits.maxRequests
    }
  }

  /// The queues for the client's packets are above the high watermark.
  private var isFull: Bool {
    (isCongested || metered.isAboveWatermark) && !mustFinish(largePacket.sendQueue)
  }

  /// The daemon of the client's bulk upload accepts no more. Its bytes stay in the kernel.
  var awaitsBulkDaemon: Bool {
    guard let bulkUpload else { return false }
    return bulkUpload.upstream.link.isWaitingToSend
  }

  var canReadClient: Bool {
    guard !front.isDiscarded else { return client.end == nil }
    return client.end == nil && !front.isCallForRoute && !awaitsBulkDaemon
      && client.own.queue.bytes <= limits.watermarks.own
      && (canRoute || client.receiveBuffer.waiting < limits.watermarks.ahead)
  }

  /// What the loop watches the client's socket for. A function of the state alone.
  public var clientInterest: Interest {
    guard client.end == nil else { return [] }
    var interest: Interest = canReadClient ? .read : []
    if client.scheduler.isBlocked, client.scheduler.hasWork {
      interest.formUnion(client.scheduler.blockedOn)
    }
    return interest
  }

  /// What the loop watches an upstream's socket for. A function of the state alone.
  public func upstreamInterest(_ slot: Int) -> Interest {
    guard let upstream = upstreams[slot], upstream.link.end == nil else { return [] }
    var interest: Interest = upstream.isPaused ? [] : .read
    if upstream.link.scheduler.isBlocked, upstream.link.scheduler.hasWork {
      interest.formUnion(upstream.link.scheduler.blockedOn)
    }
    return interest
  }

  /// The payload of the client's large packets goes through a pipe.
  public var isUploadingByPipe: Bool { bulkUpload != nil }
  /// The slots that have an upstream.
  var upstreamSlots: [Int] { upstreams.indices.filter { upstreams[$0] != nil } }
  /// Why the client's connection has ended; nil: it has not.
  public var clientEnd: LinkEnd? { client.end }
  /// The client is connected but not read, because its packets cannot be queued.
  public var isClientPaused: Bool { client.end == nil && !canReadClient }
  /// The broker reads and drops everything that the client sends.
  public var discardsClient: Bool { front.isDiscarded }
  /// The most calls of the client that may await their replies at a time.
  public var maxRequests: Int {
    get { limits.maxRequests }
    set { limits.maxRequests = newValue }
  }
  /// Bytes received from the client. An increase is a sign of life.
  public var receivedFromClient: UInt64 { client.received }
  public var sentToClient: UInt64 { client.sent }
  /// Bytes queued for the client.
  public var waitingForClient: Int { client.scheduler.bytes }
  /// Bytes queued for all upstreams, and bytes of the client that are not routed yet.
  public var waitingForUpstreams: Int {
    upstreams.indices.reduce(client.receiveBuffer.waiting) { $0 + waitingForUpstream($1) }
  }
  /// Bytes received from the client and not routed or answered yet.
  public var unroutedFromClient: Int { client.receiveBuffer.waiting }
  public var callsUnderWay: [Call] { calls.calls }
  public var awaitedCount: Int { calls.awaitedCount }
  /// Streams that have not ended.
  public var streamCount: Int { calls.count == 0 ? 0 : calls.calls.count { $0.isStreamAlive } }
  /// Calls without an answer for `patience` seconds. Each is returned once. `now` is on the owner's clock.
  public func overdueCalls(at now: Double, patience: Double) -> [Call] {
    calls.overdue(at: now, patience: patience)
  }

  /// Bytes received from an upstream and sent to it.
  public func moved(by slot: Int) -> UInt64 {
    guard let link = upstreams[slot]?.link else { return 0 }
    return link.received &+ link.sent
  }

  /// Bytes queued for an upstream.
  public func waitingForUpstream(_ slot: Int) -> Int {
    upstreams[slot]?.link.scheduler.bytes ?? 0
  }

  /// An upstream is not read, because more than the high watermark is queued for the client.
  public func isUpstreamPaused(_ slot: Int) -> Bool { upstreams[slot]?.isPaused ?? false }
}
