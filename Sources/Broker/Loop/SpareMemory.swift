// Returning memory to the system after a burst.
import CMalloc
import Streams

/// Returns memory to the system after a quiet period. The allocator keeps freed memory below blocks that are still in
/// use, and the pool keeps spare segments. Both help while work continues, but an idle broker would keep its maximum
/// size.
final class SpareMemory {
  /// Length of the quiet period.
  private static let quietSeconds = 5.0
  /// Limit of the loop's turns in a quiet period: a console stays below it, a transfer does not.
  private static let quietTurns: UInt64 = 250
  /// Spare segments that the pool keeps: clients that call now and then need this many again and again.
  private static let segments = 2

  private let reactor: Reactor
  private let pool: SegmentPool
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in giveBack() }
  private var turnAtStart: UInt64 = 0

  init(of pool: SegmentPool, on reactor: Reactor) {
    self.pool = pool
    self.reactor = reactor
  }

  /// Call it before there is a second thread. Otherwise each further thread has its own arena, which the allocator
  /// never returns.
  static func limitArenas() { mallopt(M_ARENA_MAX, 2) }

  /// A client has left, and its memory is free.
  func clientLeft() { startWaiting() }

  /// No call awaits its reply: memory that the calls needed may be unused now.
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
