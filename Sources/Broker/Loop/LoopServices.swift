// The event loop and the services that keep it from blocking.
import Streams

/// The loop, the threads that work for it, and the memory that connections receive into. One per broker. It exists as
/// long as the broker, so every other part may hold it or its members.
final class LoopServices {
  let reactor: Reactor
  /// Threads for calls that may block.
  let blocking: BlockingPool
  /// Threads for TLS handshakes, clients' and those with other hosts.
  private(set) lazy var handshakes = HandshakePool(on: reactor)
  /// Closes descriptors whose close may block.
  let closer: Closer
  /// Segments of all connections.
  let segments = SegmentPool()
  /// Pipes of all connections.
  let pipes: Pipes
  private(set) lazy var spareMemory = SpareMemory(of: segments, on: reactor)

  init() throws(BrokerFailure) {
    SpareMemory.limitArenas()
    reactor = try Reactor()
    blocking = BlockingPool(on: reactor)
    let limit = descriptorLimit()
    pipes = Pipes(descriptorLimit: limit)
    closer = Closer(
      on: blocking, quota: Quota(total: max(512, limit / 8), share: max(512, limit / 32)))
  }

  /// Releases the handlers that wait for the end of a turn. Call it when the loop no longer runs.
  func end() {
    reactor.releaseEnded()
  }
}
