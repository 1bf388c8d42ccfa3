// The life of the broker, from when it can serve until it ends.

/// Whether the broker serves or stops. Stopping cannot be undone.
///
///     serving ──── stop, signal, idle timeout ────▶ stopping ──── last client left, or time limit ────▶ the loop ends
final class LifeCycle {
  private enum State {
    /// Clients are accepted. The alarm runs while there is an idle timeout and no client.
    case serving(idle: Alarm)
    /// No new clients and no new calls. Calls under way may finish until the alarm fires.
    case stopping(limit: Alarm)
  }

  private let reactor: Reactor
  /// On the loop's clock.
  private let startedAt: Double
  private var state: State

  /// - Parameter idleTimeUp: there has been no client for the whole idle timeout.
  init(on reactor: Reactor, idleTimeUp: @escaping () -> Void) {
    self.reactor = reactor
    startedAt = reactor.now
    state = .serving(idle: Alarm(on: reactor, idleTimeUp))
  }

  var isStopping: Bool {
    switch state {
    case .serving: false
    case .stopping: true
    }
  }

  /// Seconds since the broker was made.
  var uptimeSeconds: Double { reactor.now - startedAt }

  /// Starts or stops the idle timeout.
  /// - Parameter seconds: after which the broker stops; nil: a client is connected, or there is no idle timeout.
  func setIdle(seconds: Int?) {
    guard case .serving(let alarm) = state else { return }
    if let seconds { alarm.start(seconds: Double(seconds)) } else { alarm.stop() }
  }

  /// Starts stopping. Call it once.
  /// - Parameter timeUp: called if calls are still under way after `seconds`.
  func stop(within seconds: Double, timeUp: @escaping () -> Void) {
    guard case .serving(let idle) = state else { preconditionFailure("the broker stops once") }
    // This may be the idle alarm's own callback.
    reactor.releaseAfterTurn(idle)
    idle.stop()
    let limit = Alarm(on: reactor, timeUp)
    limit.start(seconds: seconds)
    state = .stopping(limit: limit)
  }
}
