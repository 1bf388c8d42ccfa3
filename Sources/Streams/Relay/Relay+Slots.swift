// Adds and removes upstreams. Each has a slot of the relay.

extension Relay {
  /// Adds a connection to a backend daemon. The client's packets for it wait until `upstreamIsOpen`.
  /// Returns its slot.
  public func add(upstream transport: any Transport) -> Int {
    let upstream = UpstreamLink(
      transport: transport, pool: pool, largestWhole: limits.largestWhole)
    client.scheduler.add(upstream.toClient)
    return upstreams.add(upstream)
  }

  /// The upstream is ready for the client's packets.
  public func upstreamIsOpen(_ slot: Int) { upstreams[slot]?.fromClient.isHeld = false }

  /// Removes an upstream. The client still receives the packets already queued from it. Then every call that awaits a
  /// reply gets `error`, and every stream a stream error with the same text.
  ///
  /// - Parameter closedEvent: whether a client that has registered for it receives the event of a closed connection.
  public func remove(upstream slot: Int, telling error: RemoteError, closedEvent: Bool = false) {
    guard let upstream = upstreams.remove(slot) else { return }
    if largePacket.goes(to: upstream) { largePacket = .dropped }
    if bulkUpload?.upstream === upstream { bulkUpload = nil }
    front.loseRoute(to: slot, error)
    let isBroken = releaseMetered(of: slot)
    if isBroken || upstream.toClient.unfinished > 0 { client.end = client.end ?? .brokenOff }
    upstream.link.clear()
    // The errors follow the packets still queued from the upstream. If there are none, the errors go to the broker's
    // own queue, whose watermark forces the client to read them before it can cause more.
    let sendQueue: SendQueue
    if client.end == nil, !upstream.toClient.queue.isEmpty {
      sendQueue = upstream.toClient
      upstreams.draining.append(sendQueue)
    } else {
      sendQueue = client.own
      client.scheduler.remove(upstream.toClient, client.transport)
    }
    guard client.end == nil else {
      calls.removeAll(upstream: slot) { call in ended(call, .clientGone) }
      return metered.removeAll(of: slot)
    }
    if closedEvent, upstream.dependents.hasCloseCallback {
      append(
        Packets.event(
          Remote.connectEventConnectionClosed,
          ConnectionClosedEvent(reason: ConnectionClosedEvent.endOfFile)), to: sendQueue)
    }
    calls.removeAll(upstream: slot) { call in refuse(call, error, by: sendQueue) }
    metered.removeAll(of: slot)
  }

  /// The daemon of a call is gone: the client receives `error`, and what the call's stream had queued before it.
  func refuse(_ call: Call, _ error: RemoteError, by sendQueue: SendQueue) {
    // An answered call is in the table only for its stream.
    let packet =
      call.isAnswered
      ? Packets.streamError(
        program: call.program, procedure: call.procedure, serial: call.serial, error)
      : Packets.error(answering: call.header, error)
    append(packet, to: metered[call.metered]?.down ?? sendQueue)
    ended(call, .backendLost)
  }
}
