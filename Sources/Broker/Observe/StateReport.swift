// The current state of a running broker, for the log: signal USR1 requests it.
public import Streams

extension Broker {
  /// One message for the broker, then one for each listener, client, backend and call.
  public var stateReport: [Message] {
    let state =
      "\(sessions.count) of \(settings.limits.maxClients) clients"
      + (life.isStopping ? ", stopping" : life.isDraining ? ", draining" : "")
      + (acceptor.tls.map { ", \(counted($0.status.handshakes, "TLS handshake"))" } ?? "")
    var messages = [Message(.brokerState, [state])]
    for listener in acceptor.listeners {
      let state =
        "\(listener.isAccepting ? "accepting" : "not accepting"), "
        + "\(listener.unauthenticatedCount) not authenticated (\(listener.settings.authentication.rawValue))"
      messages.append(Message(.listenerState, [listener.name, state]))
    }
    for session in sessions.all.sorted(by: { $0.id < $1.id }) { messages += session.stateReport }
    return messages
  }
}

extension ClientSession {
  fileprivate var stateReport: [Message] {
    var words = [session.stateText]
    if isReadOnly { words.append("read-only") }
    if !session.isLoggedIn { words.append("not authenticated") }
    if relay.isClientPaused { words.append("not read") }
    if session.keepAlive.unanswered > 0 {
      words.append("\(counted(session.keepAlive.unanswered, "PING")) unanswered")
    }
    words.append("\(counted(relay.waitingForClient, "byte")) queued for it")
    words.append("\(counted(relay.unroutedFromClient, "byte")) received from it and not relayed")
    var messages = [Message(.clientState, [name, words.joined(separator: ", ")])]
    let who = identity.parameters.map { "\($0.field)=\($0.value.text)" }.joined(separator: " ")
    if !who.isEmpty { messages.append(Message(.clientIdentity, [name, who])) }
    for upstream in upstreams {
      let queued = counted(relay.waitingForUpstream(upstream.slot), "byte")
      let state =
        "\(stateText(of: upstream)), \(queued) queued for it"
        + (relay.isUpstreamPaused(upstream.slot) ? ", not read" : "")
      let backend = upstream.backend
      messages.append(
        Message(.upstreamState, [name, backend.daemon, backend.path, backend.uri, state]))
    }
    for call in relay.callsUnderWay.sorted(by: { $0.serial < $1.serial }) {
      messages.append(message(about: call))
    }
    return messages
  }

  private func message(about call: Call) -> Message {
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    let procedure =
      known.map { "\($0.name)" } ?? "procedure \(call.procedure) of program \(call.program)"
    let daemon = upstreams.first { $0.slot == call.upstream }?.backend.daemon ?? "no daemon"
    let stream =
      call.stream.map { stream in
        ", stream \(stream.phase), \(counted(call.up.bytes, "byte")) up, "
          + "\(counted(call.down.bytes, "byte")) down"
      } ?? ""
    return Message(
      .callState,
      [
        name, call.serial, procedure, daemon, call.isAnswered ? "answered" : "not answered yet",
        Int(max(0, broker.reactor.now - call.startedAt)), stream,
      ])
  }

  private func stateText(of upstream: UpstreamConnection) -> String {
    session.upstreams.first { $0.id == upstream.id }?.stateText ?? "closed"
  }
}

extension TypedParameter.Value {
  fileprivate var text: String {
    switch self {
    case .int(let value): "\(value)"
    case .uint(let value): "\(value)"
    case .llong(let value): "\(value)"
    case .ullong(let value): "\(value)"
    case .double(let value): "\(value)"
    case .boolean(let value): "\(value)"
    case .string(let value): "'\(value)'"
    }
  }
}
