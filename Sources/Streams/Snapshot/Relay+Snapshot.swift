// A relay on its way to another process.

extension Relay {
  /// The relay can be moved to another process: no connection has ended, and the broker itself awaits no answer.
  var isMovable: Bool {
    guard client.isWhole, !isHeld else { return false }
    switch front {
    case .free, .awaitsReply: break
    case .awaitsOwner, .awaitsRoute, .hasRoute, .discarded: return false
    }
    return upstreams.indices.allSatisfy { slot in
      guard let upstream = upstreams[slot] else { return true }
      return upstream.link.isWhole && !upstream.fromClient.isHeld && upstream.ownSerial == nil
        && upstream.events?.isHolding != true
    }
  }

  /// Writes the state of a movable relay, or reads it into a fresh one.
  /// - Parameter transport: the connection of the upstream in a slot.
  func code(
    _ coder: inout SnapshotCoder, transport: (Int) -> (any Transport)?
  ) throws(Violation) {
    // What is in the pipe is the transport's; what follows is copied until the next large packet.
    endBulkUpload()
    try coder.code(&isOpen)
    try coder.code(&isCongested)
    try coder.code(&calledAt)
    var awaitsReply = if case .awaitsReply = front { true } else { false }
    try coder.code(&awaitsReply)
    front = awaitsReply ? .awaitsReply : .free
    try accounts.code(&coder)
    try client.code(&coder)
    try codeUpstreams(&coder, transport)
    try codeRoutes(&coder)
    try calls.code(&coder)
    try metered.code(&coder, self)
    try codeDraining(&coder)
    try codeLargePackets(&coder)
    if coder.isReading { try checkReferences() }
  }

  private func codeUpstreams(
    _ coder: inout SnapshotCoder, _ transport: (Int) -> (any Transport)?
  ) throws(Violation) {
    var count = upstreams.indices.count
    try coder.code(&count, in: 0...(Call.mostUpstreams + 1))
    for slot in 0..<count {
      var exists = upstreams[slot] != nil
      try coder.code(&exists)
      guard exists else {
        if coder.isReading { upstreams.addVacant() }
        continue
      }
      if coder.isReading {
        guard let transport = transport(slot) else {
          throw Violation(.snapshotValueInvalid, [slot, "an upstream"])
        }
        let upstream = UpstreamLink(
          transport: transport, pool: pool, largestWhole: limits.largestWhole)
        client.scheduler.add(upstream.toClient)
        upstreams.append(upstream)
      }
      guard let upstream = upstreams[slot] else { continue }
      try upstream.code(&coder)
    }
  }

  private func codeRoutes(_ coder: inout SnapshotCoder) throws(Violation) {
    for driver in Driver.allCases {
      var slot = upstreams.route(to: driver) ?? -1
      try coder.code(&slot, in: -1...Call.mostUpstreams)
      guard coder.isReading, slot >= 0 else { continue }
      guard upstreams[slot] != nil else {
        throw Violation(.snapshotValueInvalid, [slot, "an upstream"])
      }
      upstreams.setRoute(slot, to: driver)
    }
  }

  /// Queues of upstreams that are gone.
  private func codeDraining(_ coder: inout SnapshotCoder) throws(Violation) {
    let count = try coder.count(upstreams.draining.count)
    for index in 0..<count {
      if coder.isReading {
        let sendQueue = SendQueue(pool: pool)
        upstreams.draining.append(sendQueue)
        client.scheduler.add(sendQueue)
      }
      try upstreams.draining[index].code(&coder)
    }
  }

  /// The packets that are forwarded in parts: where their rest goes.
  private func codeLargePackets(_ coder: inout SnapshotCoder) throws(Violation) {
    var place = (slot: -1, number: -1)
    var kept: (header: PacketHeader, body: [UInt8])?
    switch largePacket {
    case .dropped: break
    case .kept(let header, let body): kept = (header, body)
    case .relayed(let upstream, let sendQueue):
      place.slot = upstreams.indices.first { upstreams[$0] === upstream } ?? -1
      place.number = metered.numbers.first { metered[$0]?.up === sendQueue } ?? -1
    }
    try coder.code(&place.slot, in: -1...Call.mostUpstreams)
    try coder.code(&place.number)
    try coder.code(&kept, initially: (.empty, [])) { (kept, coder) throws(Violation) in
      try kept.header.code(&coder)
      try coder.code(&kept.body)
    }
    if coder.isReading {
      if let kept {
        largePacket = .kept(kept.header, kept.body)
      } else if let upstream = upstreams[place.slot] {
        largePacket = .relayed(upstream, metered[place.number]?.up ?? upstream.fromClient)
      }
    }
    for slot in upstreams.indices {
      guard let upstream = upstreams[slot] else { continue }
      var number = -2
      if let passing = upstream.passingDown {
        number = metered.numbers.first { metered[$0]?.down === passing } ?? -1
      }
      try coder.code(&number)
      guard coder.isReading, number > -2 else { continue }
      upstream.passingDown = metered[number]?.down ?? upstream.toClient
    }
  }

  /// What a damaged snapshot could contradict.
  private func checkReferences() throws(Violation) {
    for call in calls.calls where upstreams[call.upstream] == nil {
      throw Violation(.snapshotValueInvalid, [call.upstream, "an upstream"])
    }
  }
}

extension UpstreamLink {
  fileprivate func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try link.code(&coder)
    try fromClient.code(&coder)
    try toClient.code(&coder)
    try coder.code(&isPaused)
    try dependents.code(&coder)
    try coder.code(&events, initially: EventMemory()) { (events, coder) throws(Violation) in
      try events.code(&coder)
    }
  }
}

extension MeteredStreams {
  /// Writes the streams with a rate, or reads them for a relay. Their rates are those that the relay's owner has now.
  fileprivate mutating func code(
    _ coder: inout SnapshotCoder, _ relay: Relay
  ) throws(Violation) {
    try coder.code(&isAboveWatermark)
    let count = try coder.count(numbers.count)
    for number in 0..<count {
      let stream = self[number]
      var exists = stream != nil
      try coder.code(&exists)
      guard exists else {
        if coder.isReading { addVacant() }
        continue
      }
      var slot = stream?.slot ?? 0
      var kind = StreamKind.other
      if let stream { kind = stream.kind }
      try coder.code(&slot, in: 0...Call.mostUpstreams)
      try coder.code(&kind)
      guard let upstream = relay.upstreams[slot] else {
        throw Violation(.snapshotValueInvalid, [slot, "an upstream"])
      }
      let restored =
        stream ?? MeteredStream(slot: slot, kind: kind, meters: relay.owner.meters(for: kind))
      if coder.isReading { append(restored) }
      try coder.code(&restored.isOver)
      var hasUp = restored.up != nil
      try coder.code(&hasUp)
      if hasUp {
        let sendQueue = restored.up ?? relay.makeQueueUp(of: restored, upstream)
        try sendQueue.code(&coder)
        try sendQueue.codeOrder(behind: upstream.fromClient, &coder)
      }
      var hasDown = restored.down != nil
      try coder.code(&hasDown)
      if hasDown {
        let sendQueue = restored.down ?? relay.makeQueueDown(of: restored, upstream)
        try sendQueue.code(&coder)
        try sendQueue.codeOrder(behind: upstream.toClient, &coder)
      }
    }
  }
}
