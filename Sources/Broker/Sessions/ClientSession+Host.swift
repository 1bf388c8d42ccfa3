// Executes the session's actions on real sockets.
import Glibc
import Streams

extension ClientSession: SessionHost {
  func perform(_ action: SessionAction) {
    switch action {
    case .connect(let id, let uri, let isReadOnly): connect(id, to: uri, isReadOnly)
    case .connectDriver(let id, let driver, let main, let isReadOnly):
      connect(id, to: driver, beside: main, isReadOnly)
    case .remove(let id, _, _): remove(id)
    case .park(let id, let successor, _):
      parked[successor] = backend(of: id)
      remove(id)
    case .reconnect(let id): reconnect(id)
    case .closeSending: transport.closeSending()
    case .sasl(let step): perform(step)
    case .forgetSASL: login.exchange = nil
    case .protectClient: protect()
    case .askPolkit(let action): askPolkit(action)
    case .upstreamSASL(let id, let step): upstreams.first { $0.id == id }?.perform(step)
    case .identityChanged: identityChanged()
    case .log(let entry): write(entry)
    case .note(let note): count(note)
    case .end(let reason): close(because: reason)
    // The driver executes these itself.
    case .send, .beginRelaying, .route, .call, .openUpstream, .registeredAgain, .beginSurvey,
      .surveyed,
      .resumeUpstream, .discardClient:
      break
    }
  }

  func message(for end: LinkEnd, upstream id: Int?) -> Message {
    guard let id else {
      return switch end {
      case .closed: Message(.closedByClient)
      case .failed(let number): Message(.clientConnectionFailed, [cause(transport.error, number)])
      case .violation(let violation): Message(.protocolViolation, [violation.message])
      case .brokenOff: Message(.packetBrokenOff)
      }
    }
    let error = upstreams.first { $0.id == id }?.error
    return switch end {
    case .closed, .brokenOff: Message(.backendEndOfFile, [errorText(EIO)])
    case .failed(let number): Message(.backendReadFailed, [cause(error, number)])
    case .violation(let violation): Message(.protocolViolation, [violation.message])
    }
  }

  /// The cause of a failed connection: the transport's error, or the system's text.
  private func cause(_ error: Message?, _ number: Int32) -> any CustomStringConvertible {
    if let error { return error }
    return errorText(number)
  }

  // MARK: Upstreams

  private func connect(_ id: Int, to uri: String?, _ isReadOnly: Bool) {
    let found = broker.backends.backend(for: uri, readOnly: isReadOnly)
    if case .failure(let error) = found.flatMap({ connect(id, to: $0) }) {
      write(Message(.cannotOpen, [ConnectURI.shown(uri ?? ""), error.cause]), to: .upstream)
      post(.upstream(id, .unavailable(error)))
    }
  }

  /// The daemon of an upstream, also of a parked one.
  private func backend(of id: Int) -> Backend? {
    upstreams.first { $0.id == id }?.backend ?? parked[id]
  }

  private func remove(_ id: Int) {
    parked[id] = nil
    guard let index = upstreams.firstIndex(where: { $0.id == id }) else { return }
    release(upstreams.remove(at: index))
  }

  private func awaits(_ id: Int, because reason: Message) {
    guard let name = backend(of: id)?.name else { return }
    awaited.append(name)
    broker.sessions.outages.begins(
      name, reason, seconds: broker.settings.timeouts.reconnectSeconds, at: broker.reactor.now)
  }

  private func awaitsNoMore(_ id: Int, isReopened: Bool) {
    guard let name = backend(of: id)?.name,
      let index = awaited.firstIndex(of: name)
    else { return }
    awaited.remove(at: index)
    broker.sessions.outages.ends(name, isReopened: isReopened, at: broker.reactor.now)
  }

  /// Connects a parked upstream to the daemon that it had. Another daemon could serve the same URI by now.
  private func reconnect(_ id: Int) {
    guard let backend = parked[id] else { return }
    if case .failure(let error) = connect(id, to: backend) {
      return post(.upstream(id, .unavailable(error)))
    }
    parked[id] = nil
  }

  private func connect(_ id: Int, to driver: Driver, beside main: Int, _ isReadOnly: Bool) {
    guard let main = backend(of: main),
      let own = broker.backends.directory.backend(for: driver, beside: main, readOnly: isReadOnly)
    else {
      // This driver's calls go to the daemon that the client opened, so no client receives this error.
      return post(.upstream(id, .unavailable(.unset)))
    }
    if case .failure(let error) = connect(id, to: own) {
      // A socket left behind by a daemon that has ended counts as missing.
      write(Message(.driverBackendAbsent, [own.daemon, error.cause]), to: .upstream)
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
    write(entry.message, to: source, at: entry.level, file: entry.file, line: entry.line)
  }

  private func count(_ note: SessionNote) {
    switch note {
    case .refused(let refusal, let reason): recordRefused(refusal, reason.text)
    case .turnedAway: uncount()
    case .loggedIn:
      recordLoggedIn()
      broker.acceptor.authenticated(self)
    case .upstreamOpened: broker.observation.counts.upstreams.opened &+= 1
    case .upstreamFailed: broker.observation.counts.upstreams.failed &+= 1
    case .upstreamAwaited(let id, let reason): awaits(id, because: reason)
    case .upstreamReopened(let id):
      broker.observation.counts.upstreams.reopened &+= 1
      awaitsNoMore(id, isReopened: true)
    case .upstreamGivenUp(let id): awaitsNoMore(id, isReopened: false)
    case .upstreamLost: broker.observation.counts.upstreams.lost &+= 1
    case .keepAliveTimeout: broker.observation.counts.keepAliveTimeouts &+= 1
    }
  }
}
