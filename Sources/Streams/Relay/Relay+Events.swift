// Routes the calls and replies of event registrations, and the events of clients whose registrations are remembered.

extension Relay {
  /// A call that adds or ends a registration is about to be forwarded. True: it was handled here instead.
  func changeRegistrations(_ frame: Frame, at slot: Int) -> Bool {
    guard let upstream = upstreams[slot] else { return false }
    let header = frame.header
    let arguments = frame.part == .whole ? client.receiveBuffer.body(of: frame) : nil
    let events = upstream.events ?? EventMemory()
    upstream.events = events
    guard EventFamily.ended(by: header.program, header.procedure) != nil else {
      events.begins(header, arguments: arguments)
      return false
    }
    guard let arguments else { return false }
    switch events.ends(header, arguments: arguments) {
    case .forwarded: return false
    case .rewritten(let arguments):
      client.receiveBuffer.drop(frame, client.transport)
      var call = Call(
        header, upstream: slot, at: now,
        known: ProcedureTable.find(program: header.program, procedure: header.procedure))
      call.effect = CallEffect.of(header.program, header.procedure)
      calls.insert(call)
      append(Packets.make(header, arguments: arguments), to: upstream.fromClient)
    case .done(let result):
      client.receiveBuffer.drop(frame, client.transport)
      var answer = header
      answer.kind = .reply
      reply(Packets.make(answer, arguments: result))
    }
    return true
  }

  /// The daemon has answered such a call. True: the client has got another result than the daemon's.
  func answerRegistration(
    _ frame: Frame, from upstream: UpstreamLink, _ slot: Int
  ) -> Bool {
    guard let events = upstream.events else { return false }
    let header = frame.header
    let (result, survey) = events.answered(
      header, body: upstream.link.receiveBuffer.body(of: frame))
    if let survey { owner.upstream(slot, isToSurvey: survey) }
    guard let result else { return false }
    upstream.link.receiveBuffer.drop(frame, upstream.link.transport)
    append(Packets.make(header, arguments: result), to: upstream.toClient)
    return true
  }

  /// An event that the memory has to see.
  func route(
    _ frame: Frame, from upstream: UpstreamLink, by events: EventMemory
  ) throws(Violation) {
    guard frame.part == .whole else {
      guard events.mayPassUnread else { throw Violation(.eventTooLarge, [frame.header.length]) }
      return send(frame, from: upstream, by: upstream.toClient)
    }
    let packet = upstream.link.receiveBuffer.bytes(of: frame, from: 0)
    upstream.link.receiveBuffer.drop(frame, upstream.link.transport)
    for packet in try events.route(frame.header, packet) { append(packet, to: upstream.toClient) }
  }
}
