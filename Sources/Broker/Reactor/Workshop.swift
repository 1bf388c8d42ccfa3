// What may block, done beside the loop: a name service or a password database can take its time.
import Glibc

/// A thread of its own that does jobs one after the other; what each came to is told on the loop's
/// thread. The thread is started by the first job, so a broker that has none has one thread.
final class Workshop {
  /// A job under way, for the one who asked for it to cancel it by.
  struct Job: Hashable, Sendable {
    fileprivate let number: UInt64
  }

  private let bench: Bench
  private var askers: [Job: (any Sendable) -> Void] = [:]
  private var lastJob: UInt64 = 0
  private var hasThread = false

  init(on reactor: Reactor) {
    bench = Bench()
    bench.wakeup = Wakeup(on: reactor) { [unowned self] in deliver() }
  }

  /// A job that hangs is left to itself: nobody waits for the thread.
  deinit { bench.close() }

  /// Does `work` on the other thread, then `tell` on this one, never before this returns.
  @discardableResult
  func run<Result: Sendable>(
    _ work: @escaping @Sendable () -> Result, tell: @escaping (Result) -> Void
  ) -> Job {
    lastJob += 1
    let job = Job(number: lastJob)
    askers[job] = { if let result = $0 as? Result { tell(result) } }
    if !hasThread { hasThread = bench.startThread() }
    bench.add(job, work)
    // Without a thread the loop has to do it; the next job tries again to have one.
    if !hasThread { bench.work() }
    return job
  }

  /// Nobody waits for it any more: one that has not been begun never is, so that those who come and go
  /// leave no work behind for everybody after them.
  func cancel(_ job: Job) {
    askers[job] = nil
    bench.remove(job)
  }

  private func deliver() {
    for (job, result) in bench.takeResults() { askers.removeValue(forKey: job)?(result) }
  }
}

/// What both threads touch, each only while it holds the lock.
private final class Bench: @unchecked Sendable {
  typealias Work = @Sendable () -> any Sendable

  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let change: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
  private var jobs: [(job: Workshop.Job, work: Work)] = []
  private var results: [(Workshop.Job, any Sendable)] = []
  private var isClosed = false
  /// Rings on the loop. Set before there is a second thread.
  var wakeup: Wakeup?

  init() {
    pthread_mutex_init(lock, nil)
    pthread_cond_init(change, nil)
  }

  deinit {
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

  func add(_ job: Workshop.Job, _ work: @escaping Work) {
    locked { jobs.append((job, work)) }
    pthread_cond_signal(change)
  }

  func remove(_ job: Workshop.Job) { locked { jobs.removeAll { $0.job == job } } }

  func takeResults() -> [(Workshop.Job, any Sendable)] {
    locked {
      defer { results = [] }
      return results
    }
  }

  func close() {
    locked {
      isClosed = true
      jobs = []
      results = []
      wakeup = nil
    }
    pthread_cond_signal(change)
  }

  /// One job, if there is one.
  func work() {
    guard let (job, work) = locked({ jobs.isEmpty ? nil : jobs.removeFirst() }) else { return }
    let result = work()
    locked {
      guard !isClosed else { return }
      results.append((job, result))
      wakeup?.wake()
    }
  }

  private func serve() {
    while true {
      pthread_mutex_lock(lock)
      while jobs.isEmpty, !isClosed { pthread_cond_wait(change, lock) }
      let isOver = isClosed
      pthread_mutex_unlock(lock)
      if isOver { return }
      work()
    }
  }

  func startThread() -> Bool {
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
        if let data { Unmanaged<Bench>.fromOpaque(data).takeRetainedValue().serve() }
        return nil
      }, held.toOpaque())
    guard status == 0 else {
      held.release()
      return false
    }
    pthread_detach(thread)
    return true
  }
}
