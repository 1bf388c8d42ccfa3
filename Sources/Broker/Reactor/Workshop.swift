// What may block, done beside the loop: a name service or a password database can take its time.
import Glibc

/// One thread or several of its own that do jobs in the order in which they are given; what each came to is told on
/// the loop's thread. Threads are started by jobs, so a broker that has none has one thread.
final class Workshop {
  /// A job under way, for the one who asked for it to cancel it by.
  struct Job: Hashable, Sendable {
    fileprivate let number: UInt64
  }

  private let bench: Bench
  private var askers: [Job: (any Sendable) -> Void] = [:]
  private var lastJob: UInt64 = 0
  private let mostThreads: Int
  private var threads = 0

  /// - Parameter niceness: how far the threads stand back behind the loop's where all want the same processor.
  init(on reactor: Reactor, threads: Int = 1, niceness: Int32 = 0) {
    mostThreads = threads
    bench = Bench(niceness: niceness)
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
    if threads < mostThreads, bench.startThread() { threads += 1 }
    bench.add(job, work)
    // Without a thread the loop has to do it; the next job tries again to have one.
    if threads == 0 { bench.work() }
    return job
  }

  /// Nobody waits for it any more: one that has not been begun never is, so that those who come and go
  /// leave no work behind for everybody after them.
  func cancel(_ job: Job) {
    askers[job] = nil
    bench.remove(job)
  }

  /// Waits for the jobs under way, and drops the others. For jobs that do not hang, before what they use goes away.
  func finish() {
    askers = [:]
    bench.finish()
  }

  private func deliver() {
    for (job, result) in bench.takeResults() { askers.removeValue(forKey: job)?(result) }
  }
}

/// What all threads touch, each only while it holds the lock.
private final class Bench: @unchecked Sendable {
  typealias Work = @Sendable () -> any Sendable

  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let change: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
  private var jobs: [(job: Workshop.Job, work: Work)] = []
  private var results: [(Workshop.Job, any Sendable)] = []
  private var isClosed = false
  /// Jobs that are being done.
  private var underWay = 0
  /// Rings on the loop. Set before there is a second thread.
  var wakeup: Wakeup?

  private let niceness: Int32

  init(niceness: Int32) {
    self.niceness = niceness
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
    pthread_cond_broadcast(change)
  }

  func finish() {
    close()
    pthread_mutex_lock(lock)
    while underWay > 0 { pthread_cond_wait(change, lock) }
    pthread_mutex_unlock(lock)
  }

  /// One job, if there is one.
  func work() {
    let next = locked { () -> (job: Workshop.Job, work: Work)? in
      guard !jobs.isEmpty else { return nil }
      underWay += 1
      return jobs.removeFirst()
    }
    guard let (job, work) = next else { return }
    let result = work()
    locked {
      underWay -= 1
      guard !isClosed else {
        pthread_cond_broadcast(change)
        return
      }
      results.append((job, result))
      wakeup?.wake()
    }
  }

  private func serve() {
    // Of the calling thread alone, on Linux.
    if niceness > 0 { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness) }
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
