// Closing what may take its time to close, beside the loop.
import Glibc
import Streams

/// Closes descriptors on the blocking pool. The close of a foreign descriptor takes as long as its owner likes: a file
/// system in user space answers its flush when it wants to, a socket with SO_LINGER waits for its peer. The same holds
/// for a UNIX socket, in whose queue such descriptors may be under way.
///
/// The pool bounds the closes of one origin that run at a time, so those that hang delay that origin alone. What waits
/// for a thread is still open, and it stays counted in the quota of its origin: an origin over its quota can pass no
/// more descriptors. Sockets are not held to the quota, since they have to be closed; with more than `mostWaiting`
/// closes waiting the broker accepts no connections. All of it belongs to the loop's thread.
final class Closer {
  static let mostWaiting = 4096

  private let pool: BlockingPool
  private let closeDescriptor: @Sendable (Int32) -> Void
  /// Of foreign descriptors that are open.
  private var quota: Quota

  /// - Parameters:
  ///   - quota: of foreign descriptors that are open.
  ///   - closeDescriptor: closes a descriptor, on another thread.
  init(
    on pool: BlockingPool, quota: Quota,
    closeDescriptor: @escaping @Sendable (Int32) -> Void = { Glibc.close($0) }
  ) {
    self.pool = pool
    self.quota = quota
    self.closeDescriptor = closeDescriptor
  }

  /// Counts a descriptor that `origin` has passed; false if it has too many open.
  func tryReserve(for origin: Origin) -> Bool { quota.tryReserve(for: origin) }

  /// Descriptors whose close has not begun.
  var waitingCount: Int { pool.waitingCount(of: .closes) }

  /// Closes a descriptor soon.
  /// - Parameter isCounted: it was reserved, and is released when it is closed.
  func close(_ descriptor: Int32, for origin: Origin, isCounted: Bool) {
    let closeDescriptor = closeDescriptor
    pool.run(
      .closes, for: origin, { closeDescriptor(descriptor) },
      completion: { [weak self] in if isCounted { self?.quota.release(for: origin) } })
  }
}
