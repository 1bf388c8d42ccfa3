// The broker from the moment it can serve until it ends.
import Streams

/// Whether the broker serves, drains or stops, with the timer of that. `Lifetime` decides.
///
///     serving ──── stop, signal, idle timeout ────▶ stopping ──── last client left, or time limit ────▶ over
///        │                                             ▲                                                ▲
///        └── drain ────▶ draining ──── stop, time limit ────── last client left ────────────────────────┘
final class LifeCycle {
  private let reactor: Reactor
  /// On the loop's clock.
  private let startedAt: Double
  private var lifetime = Lifetime()
  private let idleTimeUp: () -> Void
  private var drainTimeUp: (() -> Void)?
  private var stopTimeUp: (() -> Void)?
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in timeUp() }

  /// - Parameter idleTimeUp: there has been no client for the whole idle timeout.
  init(on reactor: Reactor, idleTimeUp: @escaping () -> Void) {
    self.reactor = reactor
    self.idleTimeUp = idleTimeUp
    startedAt = reactor.now
  }

  /// The broker neither drains nor stops.
  var acceptsClients: Bool { lifetime.acceptsClients }
  var isDraining: Bool { lifetime.isDraining }
  var isStopping: Bool { lifetime.isStopping }
  /// The loop need not run any longer.
  var isOver: Bool { lifetime.state == .over }

  /// Seconds since the broker was made.
  var uptimeSeconds: Double { reactor.now - startedAt }

  /// The time without clients begins, or ends.
  /// - Parameter isEmpty: neither a client nor an administrator is connected.
  /// - Parameter idleSeconds: after which the broker stops; 0: there is no idle timeout.
  func occupancyChanged(isEmpty: Bool, idleSeconds: Int) {
    lifetime.occupancyChanged(isEmpty: isEmpty, idleSeconds: idleSeconds, at: reactor.now)
    setAlarm()
  }

  /// The broker accepts no client from now on, and is over when the last one has left.
  /// - Parameters:
  ///   - seconds: the time limit; 0: none; nil: that of the drain under way stays.
  ///   - timeUp: called when clients are left after `seconds`. It stops the broker.
  func drain(clients: Int, within seconds: Double?, timeUp: @escaping () -> Void) {
    drainTimeUp = drainTimeUp ?? timeUp
    lifetime.drain(clients: clients, seconds: seconds, at: reactor.now)
    setAlarm()
  }

  /// The broker begins to stop. If it is stopping already, it is over.
  /// - Parameter timeUp: called when what is under way has not ended within `seconds`.
  func stop(clients: Int, within seconds: Double, timeUp: @escaping () -> Void) {
    stopTimeUp = stopTimeUp ?? timeUp
    lifetime.stop(clients: clients, seconds: seconds, at: reactor.now)
    setAlarm()
  }

  /// A client has left, and so many are connected.
  func clientLeft(leaving count: Int) {
    lifetime.clientLeft(leaving: count)
    setAlarm()
  }

  private func setAlarm() {
    guard let deadline = lifetime.deadline else { return alarm.stop() }
    alarm.start(seconds: max(0, deadline - reactor.now))
  }

  private func timeUp() {
    switch lifetime.timeUp() {
    case .nothing: break
    case .idle: idleTimeUp()
    case .drained: drainTimeUp?()
    case .stopped: stopTimeUp?()
    }
  }
}
