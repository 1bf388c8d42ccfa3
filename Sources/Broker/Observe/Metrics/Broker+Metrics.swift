// The text of a metrics scrape.
import Streams

extension Broker {
  /// The broker's state and the counters since its start, in Prometheus's format. It contains no names that come from
  /// the network.
  var metrics: String {
    let live = Live(of: self)
    var text = MetricsText()
    describeClients(live, &text)
    describeCalls(live, &text)
    describeStreams(live, &text)
    describeDaemons(live, &text)
    describeTLS(&text)
    describeLoop(&text)
    text.family("build_info", .gauge, "Always 1; the version is in the label.")
    text.sample([("version", settings.version)], 1 as UInt64)
    ProcessMetrics.describe(&text)
    return text.text
  }

  private var counts: BrokerCounts { observation.counts }

  private func describeClients(_ live: Live, _ text: inout MetricsText) {
    text.family("clients", .gauge, "Clients connected, by how they came in.")
    for transport in ["unix", "tcp", "tls"] {
      for method in ["none", "sasl", "polkit"] {
        let count = live.clients["\(transport) \(method)"] ?? 0
        text.sample([("transport", transport), ("authentication", method)], count)
      }
    }
    text.family("clients_accepted_total", .counter, "Clients that have connected.")
    text.sample(counts.accepted)
    text.family(
      "clients_refused_total", .counter, "Clients and logins that were refused, by reason.")
    for reason in Refusal.allCases {
      text.sample([("reason", reason.rawValue)], counts.refused[reason] ?? 0)
    }
    text.family(
      "keepalive_timeouts_total", .counter, "Clients that left too many PINGs unanswered.")
    text.sample(counts.keepAliveTimeouts)
    text.family("client_bytes_total", .counter, "Bytes on the connections of clients.")
    text.sample([("direction", "received")], live.relayed.received)
    text.sample([("direction", "sent")], live.relayed.sent)
    text.family(
      "client_packets_total", .counter, "Packets relayed or answered, by where they came from.")
    text.sample([("from", "client")], live.relayed.counters.packetsUp)
    text.sample([("from", "daemon")], live.relayed.counters.packetsDown)
    text.family(
      "dropped_packets_total", .counter, "Packets dropped: of ended streams, or without a receiver."
    )
    text.sample(live.relayed.counters.dropped)
    text.family("queued_bytes", .gauge, "Bytes that wait to be sent, by whom they wait for.")
    text.sample([("for", "client")], live.waitingForClients)
    text.sample([("for", "daemon")], live.waitingForDaemons)
  }

  private func describeCalls(_ live: Live, _ text: inout MetricsText) {
    text.family(
      "calls_total", .counter,
      "Calls answered by daemons or the broker itself, by procedure and result.")
    let programs = [(Program.remote, "remote"), (Program.qemu, "qemu"), (Program.lxc, "lxc")]
    for (number, program) in programs {
      counts.answers.each(of: number) { procedure, good, failed in
        let name = ProcedureTable.find(program: number, procedure: procedure)?.name
        let labels = [("program", program), ("procedure", name.map { "\($0)" } ?? "other")]
        if good > 0 { text.sample(labels + [("result", "ok")], good) }
        if failed > 0 { text.sample(labels + [("result", "error")], failed) }
      }
    }
    text.family(
      "call_duration_seconds", .histogram,
      "From passing a call on to its daemon until the answer, by driver.")
    for driver in Driver.allCases where driver != .proxy {
      text.histogram([("driver", driver.name)], counts.answers.latencies, Int(driver.rawValue))
    }
    text.family("calls_in_progress", .gauge, "Calls whose answer a daemon owes.")
    text.sample(live.awaited)
    text.family(
      "oldest_call_seconds", .gauge, "For how long the oldest of these has been under way.")
    text.sample([], live.oldestCall)
    text.family("events_total", .counter, "Events passed on to clients.")
    text.sample(live.relayed.counters.events)
  }

  private func describeStreams(_ live: Live, _ text: inout MetricsText) {
    text.family("streams", .gauge, "Streams open now, by kind.")
    for kind in StreamKind.allCases { text.sample([("kind", kind.name)], live.streams[kind] ?? 0) }
    text.family("streams_paused", .gauge, "Streams held up now, by kind and by whom.")
    for kind in StreamKind.allCases {
      for cause in PauseCause.allCases {
        text.sample(
          [("kind", kind.name), ("by", cause.name)], live.paused["\(kind.name) \(cause.name)"] ?? 0)
      }
    }
    text.family("streams_opened_total", .counter, "Streams that a daemon has opened, by kind.")
    for kind in StreamKind.allCases {
      text.sample([("kind", kind.name)], counts.streams.opened[Int(kind.rawValue)])
    }
    text.family("streams_ended_total", .counter, "Streams that are over, by kind and result.")
    for kind in StreamKind.allCases {
      for result in StreamResult.allCases {
        text.sample(
          [("kind", kind.name), ("result", result.name)],
          counts.streams.ended[Int(kind.rawValue)][Int(result.rawValue)])
      }
    }
    text.family(
      "stream_bytes_total", .counter, "Payload of streams, by kind and by where it went.")
    for kind in StreamKind.allCases {
      let index = Int(kind.rawValue)
      text.sample([("kind", kind.name), ("to", "daemon")], live.moved.bytesUp[index])
      text.sample([("kind", kind.name), ("to", "client")], live.moved.bytesDown[index])
    }
    text.family(
      "paused_seconds_total", .counter,
      "Seconds for which connections were not read, by whom they waited for.")
    for cause in PauseCause.allCases {
      text.sample([("by", cause.name)], live.relayed.pausedSeconds[Int(cause.rawValue)])
    }
    text.family(
      "rate_limit_bytes_per_second", .gauge, "What all streams of a kind may move; 0: no limit.")
    for kind in RateKind.allCases {
      text.sample([("kind", kind.rawValue)], UInt64(clamping: sessions.rates.totals[kind] ?? 0))
    }
  }

  private func describeDaemons(_ live: Live, _ text: inout MetricsText) {
    text.family("upstreams", .gauge, "Connections to daemons.")
    text.sample(live.upstreams)
    text.family(
      "upstream_opens_total", .counter, "Connections to daemons, by how opening them ended.")
    text.sample([("result", "opened")], counts.upstreams.opened)
    text.sample([("result", "failed")], counts.upstreams.failed)
    text.family("upstream_deaths_total", .counter, "Connections that daemons have ended.")
    text.sample(counts.upstreams.lost)
    text.family(
      "upstream_reopens_total", .counter,
      "Connections to daemons that were lost and came back, while their clients stayed.")
    text.sample(counts.upstreams.reopened)
    text.family(
      "upstreams_awaited", .gauge, "Connections to daemons that are lost and waited for.")
    text.sample(live.awaitedUpstreams)
  }

  private func describeTLS(_ text: inout MetricsText) {
    text.family("tls_handshakes_total", .counter, "TLS handshakes, by how they ended.")
    for result in HandshakeResult.allCases {
      text.sample([("result", result.rawValue)], counts.handshakes[result] ?? 0)
    }
    guard let status = tlsStatus else { return }
    text.family("tls_handshakes_in_progress", .gauge, "TLS handshakes under way.")
    text.sample(UInt64(clamping: status.handshakes))
    text.family(
      "tls_certificate_expiry_timestamp_seconds", .gauge,
      "When the first certificate or revocation list of a kind expires, in seconds since 1970.")
    var earliest: [String: Int64] = [:]
    for certificate in status.certificates {
      let kind = certificate.kind.rawValue
      earliest[kind] = min(earliest[kind] ?? .max, certificate.expiration)
    }
    for (kind, time) in earliest.sorted(by: { $0.key < $1.key }) {
      text.sample([("kind", kind)], Double(time))
    }
  }

  private func describeLoop(_ text: inout MetricsText) {
    text.family(
      "loop_lag_seconds", .histogram, "By how much a timer that runs out twice a second was late.")
    text.histogram([], counts.lag)
    if let audit = observation.audit {
      text.family("audit_records_total", .counter, "Audit records, by what became of them.")
      text.sample([("result", "written")], audit.written)
      text.sample([("result", "dropped")], audit.dropped)
    }
  }
}

/// The counters, including those of the connected clients.
private struct Live {
  /// By transport and authentication.
  var clients: [String: UInt64] = [:]
  var relayed: RelayTotals
  /// Includes the bytes of streams under way.
  var moved: StreamCounts
  var streams: [StreamKind: UInt64] = [:]
  var paused: [String: UInt64] = [:]
  var waitingForClients: UInt64 = 0
  var waitingForDaemons: UInt64 = 0
  var awaited: UInt64 = 0
  var oldestCall = 0.0
  var upstreams: UInt64 = 0
  var awaitedUpstreams: UInt64 = 0

  init(of broker: Broker) {
    let counts = broker.observation.counts
    relayed = counts.relayed
    moved = counts.streams
    let now = broker.reactor.now
    for session in broker.sessions.all { add(session, at: now) }
  }

  private mutating func add(_ session: ClientSession, at now: Double) {
    let relay = session.relay
    clients["\(session.source.transportName) \(session.login.method.rawValue)", default: 0] += 1
    relayed.add(relay, at: now)
    waitingForClients &+= UInt64(clamping: relay.waitingForClient)
    waitingForDaemons &+= UInt64(clamping: relay.waitingForUpstreams)
    upstreams &+= UInt64(clamping: session.upstreams.count)
    awaitedUpstreams &+= UInt64(
      clamping: session.session.upstreams.count { $0.reopening != nil })
    for call in relay.callsUnderWay {
      if !call.isAnswered {
        awaited += 1
        oldestCall = max(oldestCall, now - call.startedAt)
      }
      guard call.stream != nil else { continue }
      moved.addBytes(of: call)
      guard call.isAnswered else { continue }
      streams[call.kind, default: 0] += 1
      if let cause = relay.pause(of: call) {
        paused["\(call.kind.name) \(cause.name)", default: 0] += 1
      }
    }
  }
}

extension Driver {
  /// Its name in labels and records.
  var name: String {
    switch self {
    case .hypervisor: "hypervisor"
    case .storage: "storage"
    case .network: "network"
    case .nodeDevice: "nodedev"
    case .interface: "interface"
    case .secret: "secret"
    case .nwfilter: "nwfilter"
    case .proxy: "proxy"
    }
  }
}
