// What is known of calls and streams for those who look: how they end, and who holds them up.

/// How a stream ended.
public enum StreamResult: UInt8, CaseIterable, Sendable {
  /// The client finished it, and the daemon confirmed that.
  case finished
  /// The client gave it up, and the daemon confirmed that.
  case aborted
  /// The daemon said that it failed.
  case failed
  /// The daemon answered the call that was to open it with an error.
  case refused
  /// An administrator ended it.
  case killed
  /// The daemon's connection was over first.
  case backendLost
  /// The client's connection was over first.
  case clientGone

  public var name: String {
    switch self {
    case .finished: "finished"
    case .aborted: "aborted"
    case .failed: "failed"
    case .refused: "refused"
    case .killed: "killed"
    case .backendLost: "backend_lost"
    case .clientGone: "client_gone"
    }
  }
}

/// Who is waited for, while the source of a stream is not read.
public enum PauseCause: UInt8, CaseIterable, Sendable {
  /// The client does not take what is queued for it.
  case client
  /// The daemon does not take what is queued for it.
  case backend
  /// The stream has used up its rate.
  case limit

  public var name: String {
    switch self {
    case .client: "client"
    case .backend: "backend"
    case .limit: "limit"
    }
  }
}

/// How long something has been so, all in all.
struct Stopwatch {
  private var total = 0.0
  private var since: Double?

  mutating func note(_ isOn: Bool, at now: Double) {
    if isOn {
      since = since ?? now
    } else if let began = since {
      total += max(0, now - began)
      since = nil
    }
  }

  var isOn: Bool { since != nil }

  func seconds(at now: Double) -> Double { total + (since.map { max(0, now - $0) } ?? 0) }
}

extension Relay {
  /// What the stream of a call belongs to, where its opening call told.
  public func object(of call: Call) -> StreamObject? { objects[Relay.key(call)] }

  /// Streams of one program alone: no two of the same procedure have the same serial.
  static func key(_ call: Call) -> UInt64 {
    UInt64(UInt32(bitPattern: call.procedure)) << 32 | UInt64(call.serial)
  }

  /// Whether the stream of a call is held up now, and by whom.
  public func pause(of call: Call) -> PauseCause? {
    guard call.stream != nil, upstreams.indices.contains(call.upstream),
      let upstream = upstreams[call.upstream]
    else { return nil }
    if isWaitingForRate(call) { return .limit }
    if call.kind != .upload, call.kind != .migration, upstream.isPaused { return .client }
    // All of the client waits, whichever of its daemons is the slow one.
    if call.kind != .download, isCongested { return .backend }
    return nil
  }

  /// Seconds for which some source of this client was not read, by whom it waited for.
  public func pausedSeconds(by cause: PauseCause, at now: Double) -> Double {
    switch cause {
    case .client: pausedByClient.seconds(at: now)
    case .backend: pausedByBackend.seconds(at: now)
    case .limit: pausedByLimit.seconds(at: now)
    }
  }

  /// The client takes what it gets, and what waits from there is kept back by its rate.
  private func waitsForRate(_ upstream: UpstreamLink) -> Bool {
    upstream.toClient.queue.isEmpty && nextMeteredTime != nil
  }

  /// At the end of a turn in which something is held up, and of the one after the last such.
  func notePauses() {
    pausedByBackend.note(isCongested, at: now)
    pausedByLimit.note(nextMeteredTime != nil, at: now)
    let isPaused = upstreams.contains { $0.map { $0.isPaused && !waitsForRate($0) } ?? false }
    pausedByClient.note(isPaused, at: now)
    isPauseNoted = pausedByBackend.isOn || pausedByLimit.isOn || pausedByClient.isOn
  }

  /// A call is over that opened a stream, or was to.
  func ended(_ call: Call, _ result: StreamResult) {
    guard call.stream != nil else { return }
    if call.metered >= 0 { metered[call.metered]?.isOver = true }
    owner.ended(call, object: objects.removeValue(forKey: Relay.key(call)), result)
  }
}
