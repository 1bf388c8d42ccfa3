// The admin calls of the broker's own program: listing current activity row by row, ending a stream, and draining.
import Glibc
import Streams

extension AdminService {
  func result(of call: BrokerCall) throws(RemoteError) -> (any XDRBody)? {
    switch call {
    case .status: return BrokerPage(rows: [status], next: 0)
    case .clients(let after):
      return page(broker.sessions.all.filter { $0.id > after }) { [row($0)] }
    case .calls(let after):
      return page(broker.sessions.all.filter { $0.id > after && $0.relay.awaitedCount > 0 }, calls)
    case .streams(let after):
      return page(broker.sessions.all.filter { $0.id > after && $0.relay.streamCount > 0 }, streams)
    case .endStream(let client, let serial, let reason):
      try endStream(client: client, serial: serial, reason: reason)
      return nil
    case .rates(let after): return rates(after: after)
    case .setRate(let kind, let identity, let rate):
      return try setRate(of: kind, for: identity, to: rate)
    case .drain(let seconds): return try drain(within: seconds)
    }
  }

  /// The rows of as many clients as fit into a page, the longest connected first.
  private func page(
    _ clients: [ClientSession], _ rows: (ClientSession) -> [[TypedParameter]]
  ) -> BrokerPage {
    var page = BrokerPage(rows: [], next: 0)
    for session in clients.sorted(by: { $0.id < $1.id }) {
      guard page.rows.count < BrokerPage.usualRows else { return page }
      page.rows += rows(session).prefix(BrokerPage.mostRows - page.rows.count)
      page.next = session.id
    }
    page.next = 0
    return page
  }

  // MARK: Rows

  private var status: [TypedParameter] {
    var row = RowMaker()
    row.add("version", broker.settings.version)
    row.add("pid", Int(getpid()))
    row.add("uptime_seconds", broker.life.uptimeSeconds)
    row.add("listeners", broker.listenerNames.joined(separator: " "))
    row.add("clients", broker.sessions.count)
    row.add("clients_max", broker.settings.limits.maxClients)
    row.add("unauthenticated", broker.acceptor.unauthenticatedCount)
    row.add("administrators", sessions.count)
    row.add("calls", broker.sessions.all.reduce(0) { $0 + $1.relay.awaitedCount })
    row.add("streams", broker.sessions.all.reduce(0) { $0 + $1.relay.streamCount })
    row.add("draining", broker.life.isDraining)
    row.add("stopping", broker.life.isStopping)
    return row.values
  }

  private func row(_ session: ClientSession) -> [TypedParameter] {
    var row = RowMaker()
    row.add("client", session.id)
    row.add("transport", ["unix", "tcp", "tls"][Int(session.adminTransport)])
    row.add(identityOf: session)
    if let peer = session.identity.peer {
      row.add("pid", Int(peer.pid))
      row.add("uid", Int(peer.uid))
      row.add("gid", Int(peer.gid))
      row.add("group", session.identity.names?.group)
    }
    row.add("sasl_user", session.identity.saslUser)
    row.add("tls_name", session.identity.distinguishedName)
    row.add("read_only", session.isReadOnly)
    row.add("state", session.stateName)
    row.add("uri", session.session.opened.map { String($0.uri.prefix(256)) })
    row.add("daemons", session.upstreams.map(\.backend.daemon).joined(separator: " "))
    row.add("connected_at", Int(session.source.connectedAt))
    row.add("age_seconds", broker.reactor.now - session.source.acceptedAt)
    row.add("calls", session.relay.awaitedCount)
    row.add("streams", session.relay.streamCount)
    row.add("queued_bytes", session.relay.waitingForClient)
    row.add("paused", session.relay.isClientPaused)
    return row.values
  }

  /// Calls that await their reply, the oldest first.
  private func calls(_ session: ClientSession) -> [[TypedParameter]] {
    let calls = session.relay.callsUnderWay.filter { !$0.isAnswered }
    return calls.sorted { ($0.startedAt, $0.serial) < ($1.startedAt, $1.serial) }.map { call in
      var row = RowMaker()
      row.add("client", session.id)
      row.add("serial", UInt64(call.serial))
      row.add(identityOf: session)
      row.add("procedure", name(of: call))
      row.add("object", session.relay.object(of: call)?.description)
      row.add("daemon", session.daemon(of: call))
      row.add("age_seconds", broker.reactor.now - call.startedAt)
      return row.values
    }
  }

  private func streams(_ session: ClientSession) -> [[TypedParameter]] {
    let calls = session.relay.callsUnderWay.filter(\.isStreamAlive)
    return calls.sorted { ($0.startedAt, $0.serial) < ($1.startedAt, $1.serial) }.map { call in
      let procedure = ProcedureTable.find(program: call.program, procedure: call.procedure)
      var row = RowMaker()
      row.add("stream", "\(session.id)/\(call.serial)")
      row.add("client", session.id)
      row.add("serial", UInt64(call.serial))
      row.add(identityOf: session)
      row.add("procedure", name(of: call))
      row.add("kind", call.kind.name)
      if let object = session.relay.object(of: call) {
        row.add("object_type", object.type)
        row.add("object", object.description)
      }
      row.add("daemon", session.daemon(of: call))
      row.add("direction", procedure.map { "\($0.stream)" })
      row.add("state", call.stream.map { "\($0.phase)" })
      row.add("bytes_up", call.up.bytes)
      row.add("bytes_down", call.down.bytes)
      row.add("packets_up", call.up.packets)
      row.add("packets_down", call.down.packets)
      row.add("age_seconds", broker.reactor.now - call.startedAt)
      row.add("paused_by", session.relay.pause(of: call)?.name)
      return row.values
    }
  }

  private func name(of call: Call) -> String {
    ProcedureTable.find(program: call.program, procedure: call.procedure).map { "\($0.name)" }
      ?? "\(call.program)/\(call.procedure)"
  }

  // MARK: Acting

  private func drain(within seconds: UInt32?) throws(RemoteError) -> BrokerPage {
    guard seconds ?? 0 <= BrokerCall.drainLimit else {
      throw RemoteError(
        .invalidArgument, domain: .admin, .drainTimeTooLong, [BrokerCall.drainLimit, seconds ?? 0])
    }
    guard let counts = broker.drain(within: seconds.map { Int($0) }) else {
      throw RemoteError(.operationInvalid, domain: .admin, .drainWhileStopping)
    }
    var row = RowMaker()
    row.add("clients", counts.continuing)
    row.add("idle_closed", counts.idle)
    return BrokerPage(rows: [row.values], next: 0)
  }

  private func endStream(
    client: UInt64, serial: UInt32, reason: String
  ) throws(RemoteError) {
    guard let session = broker.sessions[client] else {
      throw RemoteError(.noClient, .noSuchClient, [client])
    }
    let cause =
      reason.isEmpty
      ? Message(.streamEndedByAdministrator) : Message(.streamEndedWithReason, [reason])
    let error = RemoteError(.operationFailed, domain: .streams, cause)
    guard session.relay.endStream(serial: serial, telling: error) else {
      throw RemoteError(
        .operationInvalid, domain: .admin, .noSuchStream, [client, client, serial])
    }
    broker.log[.admin].write(.streamEnded, [session.name, serial, cause])
    session.settle()
  }
}

/// A list of named values; nil values are left out.
private struct RowMaker {
  private(set) var values: [TypedParameter] = []

  mutating func add(_ name: String, _ text: String?) {
    if let text { values.append(TypedParameter(name, .string(text))) }
  }
  /// The client's identity if it is verified, its address, and a local user's name.
  mutating func add(identityOf session: ClientSession) {
    add("address", session.source.address)
    add("identity", session.identity.name)
    add("user", session.identity.names?.user)
  }
  mutating func add(_ name: String, _ number: UInt64) {
    values.append(TypedParameter(name, .ullong(number)))
  }
  mutating func add(_ name: String, _ number: Int) {
    values.append(TypedParameter(name, .llong(Int64(number))))
  }
  mutating func add(_ name: String, _ number: Double) {
    values.append(TypedParameter(name, .double((number * 1000).rounded() / 1000)))
  }
  mutating func add(_ name: String, _ flag: Bool) {
    values.append(TypedParameter(name, .boolean(flag)))
  }
}

extension ClientSession {
  fileprivate var stateName: String {
    switch session.stateText {
    case "lost", "over", "turned away": "leaving"
    case let text: text
    }
  }

  fileprivate func daemon(of call: Call) -> String? {
    upstreams.first { $0.slot == call.upstream }?.backend.daemon
  }
}
