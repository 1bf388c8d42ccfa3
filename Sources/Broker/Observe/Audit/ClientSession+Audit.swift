// The counters and audit records of a client: its connection and its end, its calls and its streams.
import Streams

extension ClientSession {
  private var counts: BrokerCounts { broker.observation.counts }
  var answerCounts: AnswerCounts? { broker.observation.servesMetrics ? counts.answers : nil }
  func wantsAnswers(to access: Access) -> Bool { audit?.keeps(access) ?? false }

  func answered(_ call: Call, _ status: PacketStatus) {
    if wantsAnswers(to: call.access) {
      record("call") { record in
        describe(call, &record)
        record.add("duration", seconds: relay.now - call.startedAt)
        record.add("result", word: status == .ok ? "ok" : "error")
      }
    }
    guard call.stream != nil, status == .ok else { return }
    counts.streams.opened[Int(call.kind.rawValue)] &+= 1
    record("stream_opened") { record in
      describe(call, &record)
      describe(relay.object(of: call), of: call, &record)
    }
  }

  func ended(_ call: Call, object: StreamObject?, _ result: StreamResult) {
    counts.streams.end(call, result)
    record("stream_ended") { record in
      describe(call, &record)
      describe(object, of: call, &record)
      record.add("bytes_to_daemon", call.up.bytes)
      record.add("bytes_to_client", call.down.bytes)
      record.add("duration", seconds: relay.now - call.startedAt)
      record.add("result", result.name)
    }
  }

  // MARK: Connection and end

  func recordOpened() {
    counts.accepted &+= 1
    record("connection_opened") { $0.add("listener", login.listener?.name) }
  }

  /// The broker has refused the client's connection or authentication.
  func recordRefused(_ reason: Refusal, _ words: String) {
    counts.refused[reason, default: 0] &+= 1
    record("connection_refused") { record in
      record.add("reason", reason.rawValue)
      record.add("text", words)
    }
  }

  func recordClosed(_ reason: String) {
    counts.relayed.add(relay, at: relay.now)
    record("connection_closed") { record in
      record.add("duration", seconds: broker.reactor.now - source.acceptedAt)
      record.add("bytes_received", relay.receivedFromClient)
      record.add("bytes_sent", relay.sentToClient)
      record.add("calls", relay.counters.calls)
      record.add("text", reason)
    }
  }

  func recordLoggedIn() { record("logged_in") { $0.add("method", login.method.rawValue) } }

  // MARK: Records

  /// Adds a record with the client's identity, if there is an audit.
  private func record(_ event: StaticString, _ body: (inout AuditText) -> Void) {
    audit?.add(event) { record in
      record.add(whoItIs)
      body(&record)
    }
  }

  /// The client's identity as fields, built once until more becomes known about it.
  private var whoItIs: [UInt8] {
    if let auditFields { return auditFields }
    var fields = AuditText()
    fields.add("client", id)
    fields.add("transport", source.transportName)
    fields.add("address", source.address)
    fields.add("identity", identity.name)
    if let peer = identity.peer {
      fields.add("pid", peer.pid)
      fields.add("user", identity.names?.user)
    }
    let bytes = Array(fields.bytes)
    auditFields = bytes
    return bytes
  }

  private func describe(_ call: Call, _ record: inout AuditText) {
    if let known = ProcedureTable.find(program: call.program, procedure: call.procedure) {
      record.add("procedure", word: known.name)
    } else {
      record.add("procedure", "\(call.program):\(call.procedure)")
    }
    record.add("serial", call.serial)
  }

  private func describe(_ object: StreamObject?, of call: Call, _ record: inout AuditText) {
    record.add("kind", call.kind.name)
    record.add("object_type", object?.type)
    record.add("object", object?.description)
  }
}

extension Observation {
  /// The broker has refused a client during the TLS handshake, because of its certificate.
  func recordRefused(_ address: String, _ name: String?, on listener: Listener, _ words: String) {
    counts.handshakes[.refused, default: 0] &+= 1
    counts.refused[.certificate, default: 0] &+= 1
    audit?.add("connection_refused") { record in
      record.add("transport", "tls")
      record.add("address", address)
      record.add("listener", listener.name)
      record.add("certificate", name)
      record.add("reason", Refusal.certificate.rawValue)
      record.add("text", words)
    }
  }
}
