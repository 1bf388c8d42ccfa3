// Moves the payload of a client's large stream packets through a pipe in the kernel.

extension Relay {
  /// The client has sent a large packet of this call's stream. Those that follow use the daemon's pipe, if there is one.
  func beginBulkUpload(_ call: Call) {
    guard bulkUpload == nil, call.metered < 0, let upstream = upstreams[call.upstream],
      upstream.link.transport.openPipe(from: client.transport)
    else { return }
    bulkUpload = BulkUpload(upstream: upstream, slot: call.upstream)
  }

  /// From now on everything is copied, behind what the pipe holds. The next large packet may begin it again.
  func endBulkUpload() { bulkUpload = nil }

  /// A stream has ended, maybe the last one that needed the pipe.
  func closePipe(of slot: Int) {
    guard let upstream = upstreams[slot] else { return }
    if bulkUpload?.upstream === upstream { endBulkUpload() }
    upstream.link.transport.closePipe()
  }

  /// Reads from the client once, or moves payload to the pipe once. False: nothing was available, the daemon accepts no
  /// more, or the connection is over.
  func receiveFromClient() -> Bool {
    guard let bulk = bulkUpload else { return client.receive() }
    guard canRoute, bulk.upstream.link.sendFailure == nil, bulk.upstream.link.end == nil else {
      endBulkUpload()
      return client.receive()
    }
    if bulk.isInPacket { return passPayload(of: bulk) }
    // What is queued goes first; meanwhile the client's bytes stay in the kernel, for the pipe.
    if !bulk.upstream.link.scheduler.isIdle { bulk.upstream.link.flush(at: now) }
    guard !bulk.upstream.link.isWaitingToSend else { return false }
    if client.receiveBuffer.loneHeader() == nil {
      guard client.receive(limit: client.receiveBuffer.bytesToEdge()) else { return false }
    }
    if let header = client.receiveBuffer.loneHeader() { beginPassing(header, of: bulk) }
    return true
  }

  /// Forwards the header that was read by itself, if the payload behind it may follow through the pipe: nothing older
  /// waits in user memory for that daemon, and the stream has no rate. Any other packet ends the bulk upload.
  private func beginPassing(_ bytes: UnsafeRawBufferPointer, of bulk: BulkUpload) {
    guard let base = bytes.baseAddress else { return }
    let header = PacketHeader(at: base)
    let upstream = bulk.upstream
    guard header.kind == .stream, header.status == .continue,
      header.payloadLength >= limits.watermarks.splicedPayload,
      header.length <= UInt32(Limits.packet),
      let index = calls.findStream(header), calls[index].upstream == bulk.slot,
      calls[index].metered < 0, calls[index].stream?.takesData == true,
      !upstream.fromClient.isHeld, upstream.link.scheduler.isIdle,
      upstream.link.transport.fillPipe(with: bytes)
    else { return endBulkUpload() }
    // The packet's length and phase were checked, so neither throws nor drops.
    _ = calls.client(at: index, header)
    accounts.counters.packetsUp &+= 1
    client.receiveBuffer.beginPassing(header)
    upstream.link.passed(
      Limits.header, unfinished: header.payloadLength, of: upstream.fromClient)
    largePacket = .relayed(upstream, upstream.fromClient)
    bulkUpload?.isInPacket = true
  }

  private func passPayload(of bulk: BulkUpload) -> Bool {
    let upstream = bulk.upstream
    let left = client.receiveBuffer.unfinished
    switch upstream.link.transport.fillPipe(from: client.transport, limit: left) {
    case .moved(0):
      endBulkUpload()
      return client.receive()
    case .moved(let count):
      client.received &+= UInt64(count)
      client.receiveBuffer.passed(count)
      upstream.link.passed(count, unfinished: left - count, of: upstream.fromClient)
      guard count == left else { return emptyPipe(of: upstream) }
      largePacket = .dropped
      bulkUpload?.isInPacket = false
      return true
    case .blocked(.write): return emptyPipe(of: upstream)
    case .blocked: return false
    case .end: client.end = client.end ?? .closed
    case .failed(let number): client.end = client.end ?? .failed(number)
    }
    return false
  }

  /// The pipe has no more room, or the client has sent no more. The fuller a pipe is, the less one splice adds to it.
  private func emptyPipe(of upstream: UpstreamLink) -> Bool {
    upstream.link.flush(at: now)
    return upstream.link.transport.unsent == 0
  }
}
