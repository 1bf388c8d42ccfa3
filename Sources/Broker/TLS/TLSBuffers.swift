// The pool of buffers that TLS sessions use.
import Glibc

/// Spare buffers for the bytes of records. A session has one only while it holds a part of a record. The part of the
/// broker that makes the sessions owns the pool.
final class TLSBuffers {
  /// A record of maximum size: header, content, and the overhead of ciphers.
  static let record = 5 + 16_384 + 256
  /// Eight records: more in one call no longer changed the throughput.
  static let capacity = 8 * record
  private static let most = 8
  private var spare: [UnsafeMutableRawPointer] = []
  /// Guards a pool that several threads use; nil: only one thread uses it.
  private let lock: UnsafeMutablePointer<pthread_mutex_t>?

  init(isShared: Bool = false) {
    lock = isShared ? .allocate(capacity: 1) : nil
    if let lock { pthread_mutex_init(lock, nil) }
  }

  deinit {
    for buffer in spare { buffer.deallocate() }
    if let lock {
      pthread_mutex_destroy(lock)
      lock.deallocate()
    }
  }

  func take() -> UnsafeMutableRawPointer {
    if let lock { pthread_mutex_lock(lock) }
    defer { if let lock { pthread_mutex_unlock(lock) } }
    return spare.popLast() ?? .allocate(byteCount: TLSBuffers.capacity, alignment: 64)
  }

  func give(_ buffer: UnsafeMutableRawPointer) {
    if let lock { pthread_mutex_lock(lock) }
    defer { if let lock { pthread_mutex_unlock(lock) } }
    if spare.count < TLSBuffers.most { spare.append(buffer) } else { buffer.deallocate() }
  }
}
