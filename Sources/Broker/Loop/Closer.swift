// Closing what may take its time to close, beside the loop.
import Glibc
import Streams

/// Closes descriptors on threads of its own. The close of a foreign descriptor takes as long as its owner likes:
/// a file system in user space answers its flush when it wants to, a socket with SO_LINGER waits for its peer.
/// The same holds for a UNIX socket, in whose queue such descriptors may be under way.
///
/// One thread is always spare, so a close that hangs delays no other. An origin whose closes hang keeps at most
/// `mostPerOrigin` threads, and its further ones wait. What waits here is still open, and it stays counted in the
/// quota of its origin: an origin over its quota can pass no more descriptors. Sockets are not held to the quota,
/// since they have to be closed; with more than `mostWaiting` closes waiting the broker accepts no connections.
final class Closer: @unchecked Sendable {
  static let mostWaiting = 4096
  private static let mostThreads = 64
  private static let mostPerOrigin = 16
  /// Threads that stay when there is nothing to do.
  private static let spareThreads = 2

  private struct Job {
    let descriptor: Int32
    let origin: Origin
    let isCounted: Bool
  }

  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let change: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
  // All below is touched only while the lock is held.
  private var jobs: [Job] = []
  private var busy: [Origin: Int] = [:]
  private var threads = 0
  /// Threads without a job, those that are only about to begin among them.
  private var idle = 0
  private var isEnding = false
  private var quota: Quota

  /// - Parameter quota: of foreign descriptors that are open.
  init(quota: Quota) {
    self.quota = quota
    pthread_mutex_init(lock, nil)
    pthread_cond_init(change, nil)
  }

  deinit {
    for job in jobs { Glibc.close(job.descriptor) }
    pthread_cond_destroy(change)
    pthread_mutex_destroy(lock)
    change.deallocate()
    lock.deallocate()
  }

  private func locked<Result>(_ body: () -> Result) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return body()
  }

  /// Counts a descriptor that `origin` has passed; false if it has too many open.
  func tryReserve(for origin: Origin) -> Bool { locked { quota.tryReserve(for: origin) } }

  /// Descriptors that wait to be closed.
  var waitingCount: Int { locked { jobs.count } }

  /// Closes a descriptor soon.
  /// - Parameter isCounted: it was reserved, and is released when it is closed.
  func close(_ descriptor: Int32, for origin: Origin, isCounted: Bool) {
    let hasThread = locked {
      jobs.append(Job(descriptor: descriptor, origin: origin, isCounted: isCounted))
      if idle == 0 { startThread() }
      pthread_cond_signal(change)
      return threads > 0
    }
    // Without any thread the loop has to do it.
    guard !hasThread, let job = locked({ takeJob() }) else { return }
    Glibc.close(job.descriptor)
    locked { done(job) }
  }

  /// Threads that have nothing to do end; those in a close that hangs are left to it.
  func end() {
    locked { isEnding = true }
    pthread_cond_broadcast(change)
  }

  private func takeJob() -> Job? {
    guard
      let index = jobs.firstIndex(where: { (busy[$0.origin] ?? 0) < Closer.mostPerOrigin })
    else { return nil }
    let job = jobs.remove(at: index)
    busy[job.origin, default: 0] += 1
    return job
  }

  private func done(_ job: Job) {
    let count = (busy[job.origin] ?? 1) - 1
    busy[job.origin] = count > 0 ? count : nil
    if job.isCounted { quota.release(for: job.origin) }
  }

  private func serve() {
    pthread_mutex_lock(lock)
    while true {
      if let job = takeJob() {
        idle -= 1
        if idle == 0 { startThread() }
        pthread_mutex_unlock(lock)
        Glibc.close(job.descriptor)
        pthread_mutex_lock(lock)
        done(job)
        idle += 1
        continue
      }
      if isEnding || idle > Closer.spareThreads { break }
      pthread_cond_wait(change, lock)
    }
    idle -= 1
    threads -= 1
    pthread_mutex_unlock(lock)
  }

  /// One more, which is spare until it has something to do. The lock is held.
  private func startThread() {
    guard threads < Closer.mostThreads, !isEnding else { return }
    // Signals are the loop's: its thread is the one that expects to be interrupted.
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let held = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { data in
        if let data { Unmanaged<Closer>.fromOpaque(data).takeRetainedValue().serve() }
        return nil
      }, held.toOpaque())
    guard status == 0 else { return held.release() }
    pthread_detach(thread)
    threads += 1
    idle += 1
  }
}
