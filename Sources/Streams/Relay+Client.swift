// The way of a client's packets: to the broker itself, to an upstream, or nowhere.

extension Relay {
  /// Passes on what the client sent, as long as that may go on. True if anything moved.
  @discardableResult
  func routeFromClient() -> Bool {
    guard !discardsClient else {
      client.receiveBuffer.clear(client.transport)
      return false
    }
    var moved = false
    do throws(Violation) {
      while mayRoute {
        if let waiting = unrouted, let route = provided {
          unrouted = nil
          provided = nil
          forward(waiting.frame, to: route)
          moved = true
          continue
        }
        if client.receiveBuffer.frontIsCarrier, client.receiveBuffer.unfinished == 0 {
          throw Violation(.descriptorUnannounced)
        }
        if calls.awaitedCount >= maxRequests {
          let kind = client.receiveBuffer.frontKind()
          callWaits = kind == .call || kind == .callWithDescriptors
          if callWaits { break }
        }
        guard let frame = try client.receiveBuffer.next() else { break }
        callWaits = false
        try route(frame)
        moved = true
      }
      if client.receiveBuffer.hasMisplacedDescriptor {
        throw Violation(.descriptorOnDataByte)
      }
      if !isOpen, client.receiveBuffer.holdsDescriptors { throw Violation(.descriptorBeforeOpen) }
      if client.receiveBuffer.hasTooManyDescriptors {
        throw Violation(.tooManyDescriptorsWaiting, [ReceiveBuffer.mostDescriptors])
      }
      if !mayRoute, unrouted == nil, client.end == nil, client.own.queue.bytes <= watermarks.own {
        try client.receiveBuffer.lookAhead { header in answerKeepAlive(header, on: client) }
      }
    } catch {
      client.end = client.end ?? .violation(error)
    }
    return moved
  }

  private func route(_ frame: Frame) throws(Violation) {
    switch frame.part {
    case .whole, .first: try routeStart(frame)
    case .middle, .last: try passOn(frame)
    }
  }

  private func routeStart(_ frame: Frame) throws(Violation) {
    let header = frame.header
    counters.packetsUp &+= 1
    switch header.kind {
    case .stream, .streamHole:
      guard let index = calls.findStream(header) else { break }
      switch calls.client(at: index, header) {
      case .relay:
        guard let upstream = upstreams[calls[index].upstream] else { return drop(frame) }
        let sendQueue =
          calls[index].metered >= 0 ? sendQueueUp(calls[index], upstream) : upstream.fromClient
        guard frame.beginsRun else { return send(frame, to: upstream, by: sendQueue) }
        let run = client.receiveBuffer.run(behind: frame)
        counters.packetsUp &+= UInt64(run.packets)
        calls.passedUp(
          at: index, payload: run.bytes - run.packets * Limits.header, packets: run.packets)
        return send(frame.extended(by: run.bytes), to: upstream, by: sendQueue)
      case .drop: break
      case .violation: throw Violation(.holeOnPlainStream, [header.serial])
      }
    case .call, .callWithDescriptors:
      return try routeCall(frame)
    case .message where header.program == Program.keepAlive:
      if !client.receiveBuffer.frontWasSeen { answerKeepAlive(header, on: client) }
      return drop(frame)
    default: break
    }
    counters.dropped &+= 1
    drop(frame)
  }

  private func routeCall(_ frame: Frame) throws(Violation) {
    let header = frame.header
    counters.calls &+= 1
    try checkDescriptors(of: frame)
    if !isOpen, frame.carriers > 0 { throw Violation(.descriptorBeforeOpen) }
    if !isOpen || mayConcernBroker(header) {
      let body = arguments(of: frame)
      guard frame.part == .whole else {
        largeCall = (header, body)
        return drop(frame)
      }
      if asksOwner(header, body) { return drop(frame) }
    }
    let known = ProcedureTable.find(program: header.program, procedure: header.procedure)
    if let known, known.stream != .none, calls.count - calls.awaitedCount >= Watermarks.streams {
      reply(
        Packets.error(
          answering: header,
          RemoteError(.operationFailed, .tooManyStreams, [Watermarks.streams])
        ))
      return drop(frame)
    }
    if let known, known.stream != .none, calls.findStream(header) != nil {
      // Neither end could tell the packets of the two streams apart.
      reply(
        Packets.error(
          answering: header,
          RemoteError(.operationFailed, .streamSerialInUse, [header.serial])))
      return drop(frame)
    }
    let driver = known?.driver ?? .hypervisor
    guard let route = upstream(for: driver) else {
      unrouted = (frame, driver)
      return
    }
    forward(frame, to: route)
  }

  /// Passes a call on, or says why that is not possible.
  private func forward(_ frame: Frame, to route: Result<Int, RemoteError>) {
    let header = frame.header
    let slot: Int
    switch route {
    case .success(let found): slot = found
    case .failure(let error):
      reply(Packets.error(answering: header, error))
      return drop(frame)
    }
    let known = ProcedureTable.find(program: header.program, procedure: header.procedure)
    if header.kind == .callWithDescriptors,
      upstreams[slot]?.link.transport.carriesDescriptors == false
    {
      reply(
        Packets.error(
          answering: header,
          RemoteError(.operationUnsupported, .descriptorsToOtherHost)))
      return drop(frame)
    }
    var stream: CallStream?
    if let known, known.stream != .none {
      stream = CallStream(isSparse: isSparse(frame))
      counters.streams &+= 1
    }
    var call = Call(header, upstream: slot, stream: stream, at: now, known: known)
    if stream != nil { call.metered = meter(call) }
    calls.insert(call)
    if stream != nil {
      // The opening calls are few and of a bounded size; everything else is passed on unread.
      objects[Relay.key(call)] = StreamObject(
        opening: header, body: arguments(of: frame))
    }
    guard let upstream = upstreams[slot] else { return drop(frame) }
    send(frame, to: upstream, by: upstream.fromClient)
  }

  /// Whether the owner takes a call, whose packet is then dropped.
  private func asksOwner(_ call: PacketHeader, _ body: [UInt8]) -> Bool {
    // Set before, because an owner that answers on the spot resumes from within.
    awaitsOwner = true
    if owner.takes(call, body: body) { return true }
    awaitsOwner = false
    return false
  }

  /// Calls the owner wants to see: those of the handshake, and those that end or open something here.
  private func mayConcernBroker(_ header: PacketHeader) -> Bool {
    guard header.version == Program.version, header.program == Program.remote else {
      return header.version != Program.version
        || (header.program != Program.qemu && header.program != Program.lxc)
    }
    switch header.procedure {
    case Remote.connectOpen, Remote.connectClose, Remote.connectSupportsFeature,
      Remote.authList...Remote.authPolkit, Remote.connectSetIdentity:
      return true
    default: return false
    }
  }

  /// Nil: not known yet.
  private func upstream(for driver: Driver) -> Result<Int, RemoteError>? {
    let known = routes[Int(driver.rawValue)]
    if known >= 0 { return .success(known) }
    return owner.route(to: driver)?.map { note($0, for: driver) }
  }

  /// Whether the arguments of an upload or download ask for a sparse stream.
  private func isSparse(_ frame: Frame) -> Bool {
    let procedure = frame.header.procedure
    guard procedure == Remote.storageVolUpload || procedure == Remote.storageVolDownload else {
      return false
    }
    return arguments(of: frame).withUnsafeBytes { bytes in
      var reader = XDRReader(bytes)
      return (try? VolumeTransferArguments(from: &reader))?.isSparse ?? false
    }
  }

  /// A copy of a call's arguments, as far as they are here: its body without the count of descriptors.
  private func arguments(of frame: Frame) -> [UInt8] {
    let count = frame.header.kind == .callWithDescriptors ? FrameScanner.sight : Limits.header
    return client.receiveBuffer.bytes(of: frame, from: count, limit: Limits.usualPayload)
  }

  /// The rest of a large call that the broker answers. Arguments of any size end somewhere within what is kept,
  /// because libvirt's servers ignore what follows them; longer ones are answered as ones that cannot be decoded.
  private func readOn(_ frame: Frame) {
    if let kept = largeCall?.arguments.count, kept < Limits.usualPayload {
      largeCall?.arguments += client.receiveBuffer.bytes(
        of: frame, from: 0, limit: Limits.usualPayload - kept)
    }
    drop(frame)
    guard frame.part == .last, let call = largeCall else { return }
    largeCall = nil
    if asksOwner(call.header, call.arguments) { return }
    reply(
      Packets.error(
        answering: call.header, RemoteError(.rpc, .undecodableCall)))
  }

  private func send(_ frame: Frame, to upstream: UpstreamLink, by sendQueue: SendQueue) {
    client.receiveBuffer.take(frame, into: &sendQueue.queue)
    if frame.part == .first {
      passingTo = (upstream, sendQueue)
      sendQueue.unfinished = client.receiveBuffer.unfinished
    }
    noteWaiting(sendQueue)
  }

  /// Enough waits on that queue.
  private func noteWaiting(_ sendQueue: SendQueue) {
    guard sendQueue.queue.bytes > watermarks.high else { return }
    if sendQueue.metering == nil { isCongested = true } else { isMetered = true }
  }

  private func checkDescriptors(of frame: Frame) throws(Violation) {
    guard client.receiveBuffer.hasDescriptors(of: frame) else {
      throw Violation(.callDescriptorsMissing)
    }
  }

  /// The rest of a large packet follows its beginning. Its descriptors are known only with its end.
  private func passOn(_ frame: Frame) throws(Violation) {
    try checkDescriptors(of: frame)
    if largeCall != nil { return readOn(frame) }
    guard let (_, sendQueue) = passingTo else { return drop(frame) }
    client.receiveBuffer.take(frame, into: &sendQueue.queue)
    sendQueue.unfinished = client.receiveBuffer.unfinished
    if frame.part == .last { passingTo = nil }
    noteWaiting(sendQueue)
  }

  private func drop(_ frame: Frame) { client.receiveBuffer.drop(frame, client.transport) }

  /// Keepalive is this hop's own business: a PING is answered, everything else is a sign of life.
  func answerKeepAlive(_ header: PacketHeader, on link: Link) {
    guard header.program == Program.keepAlive, header.kind == .message,
      header.version == Program.version, header.procedure == KeepAliveProcedure.ping
    else { return }
    Packets.keepAlive(KeepAliveProcedure.pong).withUnsafeBytes {
      link.own.queue.append(copying: $0)
    }
  }
}
