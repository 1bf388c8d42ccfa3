// Closing descriptors whose close may block, beside the loop.
import Glibc
import Streams

/// Closes descriptors on the blocking pool. The owner of a foreign descriptor decides how long its close takes: a file
/// system in user space answers the flush when it wants to, a socket with SO_LINGER waits for its peer. The same holds
/// for a UNIX socket, whose queue may contain such descriptors.
///
/// The pool limits the running closes of one origin, so closes that hang delay that origin alone. A descriptor that
/// waits for a thread is still open and stays counted in the quota of its origin: an origin over its quota can pass no
/// more descriptors. The quota does not apply to sockets, since they must be closed. With more than `mostWaiting`
/// closes queued the broker accepts no connections. Used only on the loop's thread.
final class Closer {
  static let mostWaiting = 4096

  private let pool: BlockingPool
  private let closeDescriptor: @Sendable (Int32) -> Void
  /// The quota of open foreign descriptors.
  private var quota: Quota

  /// - Parameters:
  ///   - quota: limits the open foreign descriptors.
  ///   - closeDescriptor: closes a descriptor, on another thread.
  init(
    on pool: BlockingPool, quota: Quota,
    closeDescriptor: @escaping @Sendable (Int32) -> Void = { Glibc.close($0) }
  ) {
    self.pool = pool
    self.quota = quota
    self.closeDescriptor = closeDescriptor
  }

  /// Counts a descriptor that `origin` has passed. False: too many of the origin's descriptors are open.
  func tryReserve(for origin: Origin) -> Bool { quota.tryReserve(for: origin) }

  /// Number of descriptors whose close has not started.
  var waitingCount: Int { pool.waitingCount(of: .closes) }

  /// Closes a descriptor soon.
  /// - Parameter isCounted: the descriptor was reserved, and is released when it is closed.
  func close(_ descriptor: Int32, for origin: Origin, isCounted: Bool) {
    let closeDescriptor = closeDescriptor
    pool.run(
      .closes, for: origin, { closeDescriptor(descriptor) },
      completion: { [weak self] in if isCounted { self?.quota.release(for: origin) } })
  }
}
