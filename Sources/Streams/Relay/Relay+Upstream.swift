// Routes a backend's packets to the client or to the broker itself, and drops the others.

extension Relay {
  /// Routes the packets that an upstream sent.
  func routeFromUpstream(_ upstream: UpstreamLink, _ slot: Int) {
    do throws(Violation) {
      while upstream.link.end == nil {
        // A backend that refuses a call with descriptors may return these behind its answer.
        if upstream.link.receiveBuffer.frontIsCarrier, upstream.link.receiveBuffer.unfinished == 0 {
          upstream.link.receiveBuffer.dropCarrier(upstream.link.transport)
          continue
        }
        guard let frame = try upstream.link.receiveBuffer.next() else { break }
        try route(frame, from: upstream, slot)
      }
      if upstream.link.receiveBuffer.hasMisplacedDescriptor {
        throw Violation(.descriptorOnDataByte)
      }
      if upstream.link.receiveBuffer.hasTooManyDescriptors {
        throw Violation(.tooManyDescriptorsWaiting, [ReceiveBuffer.mostDescriptors])
      }
    } catch {
      upstream.link.end = upstream.link.end ?? .violation(error)
    }
  }

  private func route(_ frame: Frame, from upstream: UpstreamLink, _ slot: Int) throws(Violation) {
    guard frame.part == .whole || frame.part == .first else {
      return try passOn(frame, from: upstream)
    }
    let header = frame.header
    accounts.counters.packetsDown &+= 1
    switch header.kind {
    case .stream, .streamHole:
      guard let index = calls.findStream(header), calls[index].upstream == slot else { break }
      let sendQueue =
        calls[index].metered >= 0 ? sendQueueDown(calls[index], upstream) : upstream.toClient
      let decision =
        header.status == .continue ? calls.server(at: index, header) : routeEnd(header, of: index)
      switch decision {
      case .relay:
        guard frame.beginsRun else { return send(frame, from: upstream, by: sendQueue) }
        let run = upstream.link.receiveBuffer.run(behind: frame)
        accounts.counters.packetsDown &+= UInt64(run.packets)
        calls.passedDown(
          at: index, payload: run.bytes - run.packets * Limits.header, packets: run.packets)
        return send(frame.extended(by: run.bytes), from: upstream, by: sendQueue)
      case .drop: break
      case .violation: throw Violation(.streamPacketOutOfOrder, [header.serial])
      }
    case .reply, .replyWithDescriptors:
      return try routeReply(frame, from: upstream, slot)
    case .message:
      if header.program == Program.keepAlive {
        // A daemon that does not read its PONGs receives no more of them.
        if upstream.link.own.queue.bytes <= limits.watermarks.own {
          answerKeepAlive(header, on: upstream.link)
        }
        return drop(frame, from: upstream)
      }
      if isOpen {
        accounts.counters.events &+= 1
        if let events = upstream.events, events.readsEvents {
          return try route(frame, from: upstream, by: events)
        }
        return send(frame, from: upstream, by: upstream.toClient)
      }
    default:
      throw Violation(.backendPacketTypeInvalid, [header.kind.rawValue])
    }
    accounts.counters.dropped &+= 1
    drop(frame, from: upstream)
  }

  /// Decides a stream packet of the daemon that is not data, and reports the end of the stream if it is the last one.
  private func routeEnd(_ header: PacketHeader, of index: Int) -> StreamDecision {
    let phase = calls[index].stream?.phase
    let count = calls.count
    let decision = calls.server(at: index, header)
    if calls.count != count {
      let good: StreamResult = phase == .aborting ? .aborted : .finished
      ended(calls.lastEnded, header.status == .ok ? good : .failed)
    }
    return decision
  }

  private func routeReply(
    _ frame: Frame, from upstream: UpstreamLink, _ slot: Int
  ) throws(Violation) {
    let header = frame.header
    if upstream.ownSerial == header.serial {
      guard frame.part == .whole || upstream.ownReplyMayBeLarge else {
        throw Violation(.replyTooLarge, [header.length])
      }
      // Without its end it cannot be decoded.
      let body = frame.part == .whole ? upstream.link.receiveBuffer.body(of: frame) : []
      drop(frame, from: upstream)
      upstream.ownSerial = nil
      upstream.link.receiveBuffer.largestWhole = limits.largestWhole
      return owner.upstream(slot, answered: header, body: body)
    }
    guard let index = calls.findAwaited(header, upstream: slot) else {
      // libvirt's client closes its connection at a reply that it does not await.
      accounts.counters.dropped &+= 1
      return drop(frame, from: upstream)
    }
    guard try mayCarryDescriptors(of: frame, from: upstream) else {
      return drop(frame, from: upstream)
    }
    accounts.counters.replies &+= 1
    calledAt = now
    if let answerCounts = accounts.answerCounts {
      answerCounts.note(calls[index], header.status, after: now - calls[index].startedAt)
    }
    if calls[index].effect.dependsOnConnection {
      upstream.dependents.note(calls[index].effect, header.status)
    }
    let changesRegistrations = calls[index].effect.changesRegistrations
    if accounts.reportsAnswers(to: calls[index].access) || calls[index].stream != nil {
      answered(calls[index], at: index, header, upstream)
    } else {
      calls.answered(at: index, header.status)
    }
    if changesRegistrations, answerRegistration(frame, from: upstream, slot) { return }
    send(frame, from: upstream, by: upstream.toClient)
  }

  /// Reports the reply to a call to the owner.
  private func answered(
    _ call: Call, at index: Int, _ header: PacketHeader, _ upstream: UpstreamLink
  ) {
    let count = calls.count
    calls.answered(at: index, header.status)
    owner.answered(call, header.status)
    guard call.stream != nil else { return }
    // A stream that this reply removes was refused, or had ended before the reply.
    if calls.count != count {
      ended(
        calls.lastEnded, call.isCut ? .killed : header.status == .ok ? .failed : .refused)
    }
    if call.isCut, header.status == .ok { abort(header, at: upstream) }
  }

  func send(_ frame: Frame, from upstream: UpstreamLink, by sendQueue: SendQueue) {
    upstream.link.receiveBuffer.take(frame, into: &sendQueue.queue)
    if frame.part == .first {
      sendQueue.unfinished = upstream.link.receiveBuffer.unfinished
      upstream.passingDown = sendQueue
    }
  }

  /// Whether the client can receive the descriptors of a frame. False: the client's connection ends, as libvirt's
  /// server ends the connection of a client that requests a descriptor over TCP.
  private func mayCarryDescriptors(
    of frame: Frame, from upstream: UpstreamLink
  ) throws(Violation) -> Bool {
    guard frame.carriers > 0 else { return true }
    guard upstream.link.receiveBuffer.hasDescriptors(of: frame) else {
      throw Violation(.replyDescriptorsMissing)
    }
    guard client.transport.carriesDescriptors else {
      client.end =
        client.end
        ?? .violation(Violation(.descriptorRequestedOverNetwork))
      return false
    }
    return true
  }

  private func passOn(_ frame: Frame, from upstream: UpstreamLink) throws(Violation) {
    guard let sendQueue = upstream.passingDown,
      try mayCarryDescriptors(of: frame, from: upstream)
    else { return drop(frame, from: upstream) }
    upstream.link.receiveBuffer.take(frame, into: &sendQueue.queue)
    sendQueue.unfinished = upstream.link.receiveBuffer.unfinished
    if frame.part == .last { upstream.passingDown = nil }
  }

  private func drop(_ frame: Frame, from upstream: UpstreamLink) {
    upstream.link.receiveBuffer.drop(frame, upstream.link.transport)
  }
}
