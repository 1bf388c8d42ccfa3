// Returning memory to the system after a burst.
import CMalloc
import Streams

/// Gives memory back to the system when it has been quiet for a while. The allocator keeps what is freed below
/// something that is still in use, and the pool its spare segments: good while work continues, but an idle broker
/// would stay as large as it ever was.
final class SpareMemory {
  /// How long it has to be quiet.
  private static let quietSeconds = 5.0
  /// At most so many turns of the loop in that time are quiet: a console's, but no transfer's.
  private static let quietTurns: UInt64 = 250
  /// Clients that call now and then use so many segments again and again.
  private static let segments = 2

  private let reactor: Reactor
  private let pool: SegmentPool
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in giveBack() }
  private var turnAtStart: UInt64 = 0

  init(of pool: SegmentPool, on reactor: Reactor) {
    self.pool = pool
    self.reactor = reactor
  }

  /// To be called before there is a second thread. Otherwise each thread beside the loop has an arena of its own,
  /// which the allocator never gives back.
  static func limitArenas() { mallopt(M_ARENA_MAX, 2) }

  /// A client has left, and what it held is free.
  func clientLeft() { startWaiting() }

  /// No call awaits its reply: what the calls needed may be unused now.
  func callsEnded() {
    if pool.spareCount > SpareMemory.segments { startWaiting() }
  }

  private func startWaiting() {
    guard !alarm.isRunning else { return }
    turnAtStart = reactor.turn
    alarm.start(seconds: SpareMemory.quietSeconds)
  }

  private func giveBack() {
    guard reactor.turn &- turnAtStart <= SpareMemory.quietTurns else { return startWaiting() }
    pool.shed(keeping: SpareMemory.segments)
    malloc_trim(0)
  }
}
