// Keeps the place of an upstream whose daemon is away.

extension Relay {
  /// What the client has at a daemon that ends with the connection. A call without an answer counts as carried out.
  public func dependents(of slot: Int) -> Dependents {
    var dependents = upstreams[slot]?.dependents ?? Dependents()
    if let events = upstreams[slot]?.events {
      dependents.registrations = events.registrations
      dependents.isWhole = events.isWhole
      dependents.hasUnknownRegistration = events.hasUnknown
    }
    for call in calls.calls where call.upstream == slot && !call.isAnswered {
      dependents.noteUnanswered(call.effect)
    }
    return dependents
  }

  /// Ends an upstream's connection and keeps its slot, its routes and its queue for the client. What the client sends
  /// for it waits until the owner has attached another connection and opened it.
  ///
  /// If the upstream was open, calls that only read are sent again, once; each other call gets `error`, and each stream a
  /// stream error with the same text. If it was not, no packet of the client was sent, and all of them still wait.
  public func park(upstream slot: Int, telling error: RemoteError) {
    guard let old = upstreams[slot] else { return }
    if bulkUpload?.upstream === old { bulkUpload = nil }
    let wasOpen = !old.fromClient.isHeld
    let parked = replace(
      old, in: slot,
      by: ParkedTransport(for: old.link.transport, discardingBy: client.transport))
    if wasOpen { answerForLost(old, slot, error, parked) }
    parked.events?.daemonIsLost(wasOpen: wasOpen)
    old.link.clear()
  }

  /// An upstream that was lost is open again: the client receives the events that it has missed, and may send. False: what
  /// it has missed is not known, and `mayMiss` is false.
  public func resume(upstream slot: Int, mayMiss: Bool) -> Bool {
    guard let upstream = upstreams[slot] else { return false }
    if let events = upstream.events {
      guard let packets = events.resume(mayMiss: mayMiss) else { return false }
      for packet in packets { append(packet, to: upstream.toClient) }
    }
    upstreamIsOpen(slot)
    return true
  }

  /// The daemon of an upstream that was lost has confirmed a registration again.
  public func registeredAgain(_ slot: Int, _ registration: Registration, body: [UInt8]) {
    upstreams[slot]?.events?.registeredAgain(registration, body: body)
  }

  /// The owner asks for lists of these objects from now on; nil: of all, because the daemon was lost.
  public func beginSurvey(_ slot: Int, of objects: ObjectKind?) {
    upstreams[slot]?.events?.beginSurvey(of: objects)
  }

  /// A list of objects for which the owner was asked; nil: the daemon has refused it.
  public func surveyed(_ slot: Int, _ objects: ObjectKind, _ list: [UInt8]?) {
    upstreams[slot]?.events?.surveyed(objects, list)
  }

  /// Provides a parked upstream with a connection.
  public func attach(upstream slot: Int, to transport: any Transport) {
    guard let parked = upstreams[slot] else { return }
    replace(parked, in: slot, by: transport)
  }

  @discardableResult
  private func replace(
    _ old: UpstreamLink, in slot: Int, by transport: any Transport
  ) -> UpstreamLink {
    let new = UpstreamLink(
      transport: transport, pool: pool, largestWhole: limits.largestWhole, inPlaceOf: old)
    upstreams.replace(slot, by: new)
    if new.fromClient === old.fromClient {
      largePacket.redirect(from: old, to: new)
    } else if largePacket.goes(to: old) {
      largePacket = .dropped
    }
    return new
  }

  private func answerForLost(
    _ old: UpstreamLink, _ slot: Int, _ error: RemoteError, _ parked: UpstreamLink
  ) {
    let isBroken = releaseMetered(of: slot)
    if isBroken || old.toClient.unfinished > 0 { client.end = client.end ?? .brokenOff }
    guard client.end == nil else {
      calls.removeAll(upstream: slot) { call in ended(call, .clientGone) }
      return metered.removeAll(of: slot)
    }
    // As when an upstream is removed.
    let sendQueue = old.toClient.queue.isEmpty ? client.own : old.toClient
    calls.removeUnrepeatable(upstream: slot) { call in
      refuse(call, error, by: sendQueue)
    } again: { packet in
      append(packet, to: parked.fromClient)
    }
    metered.removeAll(of: slot)
  }
}
