// Measures the lateness of the loop.
import Streams

/// Measures by how much a timer that fires twice a second is late.
final class LagWatch: Handler {
  private static let seconds = 0.5
  private let lag: Histograms
  private let reactor: Reactor
  private let timer: TimerWatcher
  /// When the timer should fire, on the loop's clock.
  private var due = 0.0

  /// - Parameter lag: takes the measurements, in seconds.
  init(_ lag: Histograms, on reactor: Reactor) {
    self.lag = lag
    self.reactor = reactor
    timer = TimerWatcher(on: reactor)
    super.init()
    timer.belong(to: self)
  }

  func start() {
    due = reactor.now + LagWatch.seconds
    timer.start(seconds: LagWatch.seconds)
  }

  func stop() { timer.stop() }

  override func timeUp() {
    lag.note(max(0, reactor.now - due))
    start()
  }
}
