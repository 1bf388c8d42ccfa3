// What a running broker is doing, in words: for the log, when somebody asks what is stuck.
import Streams

extension Broker {
  /// One line for the whole, one for each listener, client, daemon and call.
  public var stateReport: [String] {
    var lines = [
      "state: \(sessions.count) of \(settings.limits.maxClients) clients"
        + (isStopping ? ", stopping" : "")
        + (tlsAcceptor.map { ", \(counted($0.status.handshakes, "TLS handshake"))" } ?? "")
    ]
    for listener in listeners {
      lines.append(
        "state: \(listener.name): \(listener.isAccepting ? "accepting" : "not accepting"), "
          + "\(listener.unauthenticatedCount) not authenticated (\(listener.settings.authentication.rawValue))"
      )
    }
    for session in sessions.values.sorted(by: { $0.id < $1.id }) { lines += session.stateReport }
    return lines
  }
}

extension ClientSession {
  fileprivate var stateReport: [String] {
    var words = [session.stateText]
    if isReadOnly { words.append("read-only") }
    if !session.isLoggedIn { words.append("not authenticated") }
    if relay.isClientPaused { words.append("not read") }
    if session.keepAlive.unanswered > 0 {
      words.append("\(counted(session.keepAlive.unanswered, "PING")) unanswered")
    }
    words.append("\(counted(relay.waitingForClient, "byte")) queued for it")
    words.append("\(counted(relay.unroutedFromClient, "byte")) from it not passed on yet")
    let who = identity.parameters.map { "\($0.field)=\($0.value.text)" }.joined(separator: " ")
    var lines = ["state: \(name): " + words.joined(separator: ", ")]
    if !who.isEmpty { lines.append("state: \(name): is \(who)") }
    for upstream in upstreams {
      lines.append(
        "state: \(name): \(upstream.backend.daemon) at \(upstream.backend.path), "
          + "'\(upstream.backend.uri)': \(stateText(of: upstream)), "
          + "\(counted(relay.waitingForUpstream(upstream.slot), "byte")) queued for it"
          + (relay.isUpstreamPaused(upstream.slot) ? ", not read" : ""))
    }
    for call in relay.callsUnderWay.sorted(by: { $0.serial < $1.serial }) {
      lines.append("state: \(name): \(describe(call))")
    }
    return lines
  }

  private func describe(_ call: Call) -> String {
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    let procedure =
      known.map { "\($0.name)" } ?? "procedure \(call.procedure) of program \(call.program)"
    let daemon = upstreams.first { $0.slot == call.upstream }?.backend.daemon ?? "no daemon"
    var text = "call \(call.serial) \(procedure) at \(daemon): "
    text += call.isAnswered ? "answered" : "its reply is awaited"
    text += ", begun \(Int(max(0, broker.reactor.now - call.startedAt))) s ago"
    if let stream = call.stream {
      text +=
        ", stream \(stream.phase), \(counted(call.up.bytes, "byte")) up, \(counted(call.down.bytes, "byte")) down"
    }
    return text
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
