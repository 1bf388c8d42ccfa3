// What a session decides, carried out over real sockets.
import Glibc
import Streams

extension ClientSession: SessionHost {
  func perform(_ action: SessionAction) {
    switch action {
    case .connect(let id, let uri, let isReadOnly): connect(id, to: uri, isReadOnly)
    case .connectDriver(let id, let driver, let main, let isReadOnly):
      connect(id, to: driver, beside: main, isReadOnly)
    case .remove(let id, _, _):
      guard let index = upstreams.firstIndex(where: { $0.id == id }) else { return }
      release(upstreams.remove(at: index))
    case .closeSending: transport.closeSending()
    case .sasl(let step): perform(step)
    case .forgetSASL: login.exchange = nil
    case .protectClient: protect()
    case .askPolkit(let action): askPolkit(action)
    case .upstreamSASL(let id, let step): upstreams.first { $0.id == id }?.perform(step)
    case .identityChanged: identityChanged()
    case .log(let entry): write(entry)
    case .note(let note): count(note)
    case .end(let reason, let isWarning): close(because: reason, isWarning ? .warning : .info)
    // The driver's own.
    case .send, .beginRelaying, .route, .call, .openUpstream, .discardClient: break
    }
  }

  func words(for end: LinkEnd, upstream id: Int?) -> String {
    guard let id else {
      return switch end {
      case .closed: "closed by the client"
      case .failed(let number): transport.error?.text ?? errorText(number)
      case .violation(let violation): "protocol violation: \(violation)"
      case .brokenOff: "a packet broke off with its backend"
      }
    }
    let error = upstreams.first { $0.id == id }?.error
    return switch end {
    case .closed, .brokenOff: "End of file while reading data: \(errorText(EIO))"
    case .failed(let number): "Cannot read data: \(error?.text ?? errorText(number))"
    case .violation(let violation): "protocol violation: \(violation)"
    }
  }

  // MARK: Upstreams

  private func connect(_ id: Int, to uri: String?, _ isReadOnly: Bool) {
    let found = broker.backends.backend(for: uri, readOnly: isReadOnly)
    if case .failure(let error) = found.flatMap({ connect(id, to: $0) }) {
      log[.upstream].warning(
        "\(name): cannot open '\(ConnectURI.shown(uri ?? ""))': "
          + "\(error.message ?? "no reason given")")
      post(.upstream(id, .unavailable(error)))
    }
  }

  private func connect(_ id: Int, to driver: Driver, beside main: Int, _ isReadOnly: Bool) {
    let error = RemoteError(.noConnect, "no daemon of its own")
    guard let main = upstreams.first(where: { $0.id == main })?.backend,
      let own = broker.backends.directory.backend(for: driver, beside: main, readOnly: isReadOnly)
    else { return post(.upstream(id, .unavailable(error))) }
    if case .failure(let error) = connect(id, to: own) {
      // A socket left behind by a daemon that is gone: as if it were not there.
      log[.upstream].info("\(name): \(own.daemon) is absent: \(error.message ?? "")")
      post(.upstream(id, .unavailable(error)))
    }
  }

  private func connect(_ id: Int, to backend: Backend) -> Result<Void, RemoteError> {
    UpstreamConnection.make(backend, id, for: self).flatMap { upstream in
      upstreams.append(upstream)
      guard let number = upstream.start() else { return .success(()) }
      upstreams.removeAll { $0 === upstream }
      release(upstream)
      broker.observation.counts.upstreams.failed &+= 1
      return .failure(broker.backends.directory.unreachable(backend.path, number))
    }
  }

  // MARK: Log and counts

  private func write(_ entry: SessionLog) {
    let source: BrokerLog.Source =
      switch entry.topic {
      case .client: .client
      case .keepAlive: .keepAlive
      case .sasl: .sasl
      case .polkit: .polkit
      case .upstream: .upstream
      }
    let level: BrokerLog.Level =
      switch entry.level {
      case .debug: .debug
      case .info: .info
      case .warning: .warning
      }
    log[source].line(
      level, "\(name)\(entry.topic == .client ? "" : ":") \(entry.text)", file: entry.file,
      line: entry.line)
  }

  private func count(_ note: SessionNote) {
    switch note {
    case .refused(let refusal, let reason): recordRefused(refusal, reason)
    case .turnedAway: uncount()
    case .loggedIn:
      recordLoggedIn()
      broker.acceptor.authenticated(self)
    case .upstreamOpened: broker.observation.counts.upstreams.opened &+= 1
    case .upstreamFailed: broker.observation.counts.upstreams.failed &+= 1
    case .upstreamLost: broker.observation.counts.upstreams.lost &+= 1
    case .keepAliveTimeout: broker.observation.counts.keepAliveTimeouts &+= 1
    }
  }
}
