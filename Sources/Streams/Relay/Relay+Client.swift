// Routes a client's packets to the broker itself or to an upstream, and drops the others.

extension Relay {
  /// Routes the client's packets, as far as the state allows. True if a packet moved.
  @discardableResult
  func routeFromClient() -> Bool {
    guard !front.isDiscarded else {
      client.receiveBuffer.clear(client.transport)
      return false
    }
    var moved = false
    do throws(Violation) {
      while canRoute {
        if case .hasRoute(let frame, _, let route) = front {
          front = .free
          forward(frame, to: route)
          moved = true
          continue
        }
        if client.receiveBuffer.frontIsCarrier, client.receiveBuffer.unfinished == 0 {
          throw Violation(.descriptorUnannounced)
        }
        if calls.awaitedCount >= limits.maxRequests {
          let kind = client.receiveBuffer.frontKind()
          if kind == .call || kind == .callWithDescriptors {
            front = .awaitsReply
            break
          }
        }
        guard let frame = try client.receiveBuffer.next() else { break }
        if case .awaitsReply = front { front = .free }
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
      if !canRoute, !front.isCallForRoute, client.end == nil,
        client.own.queue.bytes <= limits.watermarks.own
      {
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
    case .middle, .last: try routeRest(frame)
    }
  }

  private func routeStart(_ frame: Frame) throws(Violation) {
    let header = frame.header
    accounts.counters.packetsUp &+= 1
    switch header.kind {
    case .stream, .streamHole:
      guard let index = calls.findStream(header) else { break }
      switch calls.client(at: index, header) {
      case .relay:
        guard let upstream = upstreams[calls[index].upstream] else { return drop(frame) }
        if header.payloadLength >= limits.watermarks.splicedPayload {
          beginBulkUpload(calls[index])
        }
        let sendQueue =
          calls[index].metered >= 0 ? sendQueueUp(calls[index], upstream) : upstream.fromClient
        guard frame.beginsRun else { return send(frame, to: upstream, by: sendQueue) }
        let run = client.receiveBuffer.run(behind: frame)
        accounts.counters.packetsUp &+= UInt64(run.packets)
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
    accounts.counters.dropped &+= 1
    drop(frame)
  }

  private func routeCall(_ frame: Frame) throws(Violation) {
    let header = frame.header
    accounts.counters.calls &+= 1
    calledAt = now
    try checkDescriptors(of: frame)
    if !isOpen, frame.carriers > 0 { throw Violation(.descriptorBeforeOpen) }
    if !isOpen || mayConcernBroker(header) {
      let body = arguments(of: frame)
      guard frame.part == .whole else {
        largePacket = .kept(header, body)
        return drop(frame)
      }
      if offer(header, body) { return drop(frame) }
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
    // Almost every call has a route. The result of the owner is copied with reference counting, so it has a function
    // of its own.
    guard let slot = upstreams.route(to: driver) else { return findRoute(frame, to: driver) }
    forward(frame, known, to: slot)
  }

  /// Asks the owner for the upstream that serves a driver. Without an answer the call waits.
  private func findRoute(_ frame: Frame, to driver: Driver) {
    guard let route = owner.route(to: driver) else {
      front = .awaitsRoute(frame, driver)
      return
    }
    forward(frame, to: route.map { note($0, for: driver) })
  }

  /// Forwards a call, or answers it with the error that prevents that.
  private func forward(_ frame: Frame, to route: Result<Int, RemoteError>) {
    let header = frame.header
    switch route {
    case .success(let slot):
      let known = ProcedureTable.find(program: header.program, procedure: header.procedure)
      forward(frame, known, to: slot)
    case .failure(let error):
      reply(Packets.error(answering: header, error))
      drop(frame)
    }
  }

  private func forward(_ frame: Frame, _ known: Procedure?, to slot: Int) {
    let header = frame.header
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
      accounts.counters.streams &+= 1
    }
    var call = Call(header, upstream: slot, stream: stream, at: now, known: known)
    if stream != nil { call.metered = meter(call) }
    call.effect = effect(of: frame)
    if call.effect == .readsOnly, keepsCalls, frame.part == .whole, header.kind == .call,
      frame.length <= CallCopies.longest
    {
      call.copy = calls.copies.add { client.receiveBuffer.append(frame, to: &$0) }
    }
    if call.effect.changesRegistrations {
      guard !changeRegistrations(frame, at: slot) else { return }
    }
    calls.insert(call)
    if stream != nil {
      // The opening calls are few and of a bounded size; the relay reads no other body.
      accounts.objects[Relay.key(call)] = StreamObject(
        opening: header, body: arguments(of: frame))
    }
    guard let upstream = upstreams[slot] else { return drop(frame) }
    send(frame, to: upstream, by: upstream.fromClient)
  }

  /// Offers a call to the owner. True: the owner takes it, and the relay drops its packet.
  private func offer(_ call: PacketHeader, _ body: [UInt8]) -> Bool {
    // Set before, because an owner that answers at once calls `resume` from within.
    front = .awaitsOwner
    if owner.takes(call, body: body) { return true }
    resume()
    return false
  }

  /// Calls that the owner may take: those of the login, and those that open or close a connection.
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

  /// What a call leaves behind at the daemon.
  private func effect(of frame: Frame) -> CallEffect {
    let effect = CallEffect.of(frame.header.program, frame.header.procedure)
    guard effect == .startsGuest else { return effect }
    // The flags of a call that is passed on in parts are not known.
    guard frame.part == .whole, !CallEffect.isBound(arguments(of: frame)) else {
      return .startsBoundGuest
    }
    return effect
  }

  /// A copy of a call's arguments, as far as they have arrived: its body without the count of descriptors.
  private func arguments(of frame: Frame) -> [UInt8] {
    let count = frame.header.kind == .callWithDescriptors ? FrameScanner.sight : Limits.header
    return client.receiveBuffer.bytes(of: frame, from: count, limit: Limits.usualPayload)
  }

  /// Keeps the next part of a large call that the broker answers, and drops a part of any other packet. Only the first
  /// `Limits.usualPayload` bytes are kept. libvirt's servers ignore bytes behind the arguments. Arguments that do not
  /// end within the kept bytes are refused as undecodable.
  private func keep(_ frame: Frame) {
    guard case .kept(let header, var arguments) = largePacket else { return drop(frame) }
    // The array has one owner, so that it grows in place.
    largePacket = .dropped
    if arguments.count < Limits.usualPayload {
      arguments += client.receiveBuffer.bytes(
        of: frame, from: 0, limit: Limits.usualPayload - arguments.count)
    }
    drop(frame)
    guard frame.part == .last else {
      largePacket = .kept(header, arguments)
      return
    }
    if offer(header, arguments) { return }
    reply(
      Packets.error(answering: header, RemoteError(.rpc, .undecodableCall)))
  }

  private func send(_ frame: Frame, to upstream: UpstreamLink, by sendQueue: SendQueue) {
    client.receiveBuffer.take(frame, into: &sendQueue.queue)
    if frame.part == .first {
      largePacket = .relayed(upstream, sendQueue)
      sendQueue.unfinished = client.receiveBuffer.unfinished
    }
    pauseIfFull(sendQueue)
  }

  /// Above the high watermark the client is not read until `settle` finds its queue below the low one.
  private func pauseIfFull(_ sendQueue: SendQueue) {
    guard sendQueue.queue.bytes > limits.watermarks.high else { return }
    if sendQueue.metering == nil { isCongested = true } else { metered.isAboveWatermark = true }
  }

  private func checkDescriptors(of frame: Frame) throws(Violation) {
    guard client.receiveBuffer.hasDescriptors(of: frame) else {
      throw Violation(.callDescriptorsMissing)
    }
  }

  /// The rest of a large packet follows its beginning. Its descriptors are known only with its end.
  private func routeRest(_ frame: Frame) throws(Violation) {
    try checkDescriptors(of: frame)
    guard let sendQueue = largePacket.sendQueue else { return keep(frame) }
    client.receiveBuffer.take(frame, into: &sendQueue.queue)
    sendQueue.unfinished = client.receiveBuffer.unfinished
    if frame.part == .last { largePacket = .dropped }
    pauseIfFull(sendQueue)
  }

  private func drop(_ frame: Frame) { client.receiveBuffer.drop(frame, client.transport) }

  /// Keepalive belongs to this hop. The broker answers a PING. Any other packet is only a sign of life.
  func answerKeepAlive(_ header: PacketHeader, on link: Link) {
    guard header.program == Program.keepAlive, header.kind == .message,
      header.version == Program.version, header.procedure == KeepAliveProcedure.ping
    else { return }
    Packets.keepAlive(KeepAliveProcedure.pong).withUnsafeBytes {
      link.own.queue.append(copying: $0)
    }
  }
}
