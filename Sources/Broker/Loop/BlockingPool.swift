// Threads for calls that may block: name services, password databases, files, closes of foreign descriptors.
import Glibc
import Streams

/// Runs jobs on threads beside the loop and reports their results on the loop's thread.
///
/// One queue serves all services. Each service has a limit on its running jobs, and the pool may have as many threads
/// as all limits together allow: a service whose calls hang delays only its own further jobs, and only once it has
/// reached its limit. Within a service the same holds for origins, if a job has one. Jobs of a service start in the
/// order in which they were added, except those of an origin that has reached its limit. Jobs start the threads, so a
/// broker without jobs has one thread, and idle threads end.
final class BlockingPool {
  /// The services whose calls may block, with the limit on their running jobs.
  enum Service: Int, CaseIterable, Sendable {
    /// Names of users and groups.
    case names
    /// Steps of clients' SASL logins.
    case sasl
    /// Addresses of other hosts, and the broker's own SASL login there.
    case otherHosts
    /// Writing the audit.
    case audit
    /// Steps of TLS handshakes, which do not block but compute for a long time.
    case handshakes
    /// Closes of descriptors that clients have passed, and of their sockets.
    case closes

    /// Limit of running jobs.
    fileprivate var most: Int {
      switch self {
      case .names, .sasl, .otherHosts: 8
      case .audit: 1
      case .closes: 64
      case .handshakes: min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)) - 1, 1), 4)
      }
    }

    /// Limit of running jobs of one origin, if its jobs have one.
    fileprivate var mostPerOrigin: Int { self == .closes ? 16 : most }
  }

  /// A job under way; its caller can cancel it with this.
  struct Job: Hashable, Sendable {
    fileprivate let number: UInt64
  }

  /// Delay before the next attempt to start a thread, after the kernel has refused the first one.
  private static let retrySeconds = 0.1

  private let queue: JobQueue
  /// The receivers of results. A cancelled job has none.
  private var receivers: [Job: (any Sendable) -> Void] = [:]
  private var lastJob: UInt64 = 0
  private let retry: Alarm

  /// - Parameter niceness: the nice value by which the threads yield to the loop if both need the same processor.
  init(on reactor: Reactor, niceness: Int32 = 0) {
    let queue = JobQueue(niceness: niceness)
    self.queue = queue
    // A queue without any thread keeps its jobs: the loop never runs them.
    let retry = Alarm(on: reactor) { queue.startFirstThread() }
    self.retry = retry
    queue.wakeup = Wakeup(on: reactor) { [unowned self] in deliver() }
  }

  /// A job that hangs is abandoned: no code waits for its thread.
  deinit { queue.close() }

  /// Runs `work` on another thread, then `completion` on this one, never before this returns.
  /// - Parameter origin: the origin of the job, for services that limit the threads of one origin.
  @discardableResult
  func run<Result: Sendable>(
    _ service: Service, for origin: Origin? = nil, _ work: @escaping @Sendable () -> Result,
    completion: @escaping (Result) -> Void
  ) -> Job {
    lastJob += 1
    let job = Job(number: lastJob)
    receivers[job] = { if let result = $0 as? Result { completion(result) } }
    if !queue.add(job, service, origin, work) { retry.start(seconds: BlockingPool.retrySeconds) }
    return job
  }

  /// Number of a service's jobs that have not started.
  func waitingCount(of service: Service) -> Int { queue.waitingCount(of: service) }

  /// The job's result is not reported. A job that has not started is removed, so that clients that connect and leave at
  /// once do not queue work before other clients.
  func cancel(_ job: Job) {
    receivers[job] = nil
    queue.remove(job)
  }

  /// Waits for the running jobs and drops the others. For jobs that do not hang, before what they use is released.
  func finish() {
    receivers = [:]
    queue.finish()
  }

  private func deliver() {
    for (job, result) in queue.takeResults() { receivers.removeValue(forKey: job)?(result) }
    if queue.isStranded { retry.start(seconds: BlockingPool.retrySeconds) }
  }
}

/// The state that all threads share. Every member is accessed only while the lock is held.
private final class JobQueue: @unchecked Sendable {
  typealias Work = @Sendable () -> any Sendable

  private struct Entry {
    let job: BlockingPool.Job
    let service: BlockingPool.Service
    let origin: Origin?
    let work: Work

    var share: Share? { origin.map { Share(service: service, origin: $0) } }
  }

  /// An origin's share of a service.
  private struct Share: Hashable {
    let service: BlockingPool.Service
    let origin: Origin
  }

  /// Limit of idle threads; others end.
  private static let mostIdle = 2

  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let change: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
  private let niceness: Int32
  private var entries: [Entry] = []
  private var results: [(BlockingPool.Job, any Sendable)] = []
  /// Running jobs of each service.
  private var running = [Int](repeating: 0, count: BlockingPool.Service.allCases.count)
  /// Running jobs of each origin that has any.
  private var runningShares: [Share: Int] = [:]
  private var threads = 0
  /// Threads without a job, including those that have not begun to run.
  private var idle = 0
  private var isClosed = false
  /// Wakes the loop. Set before there is a second thread.
  var wakeup: Wakeup?

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

  // MARK: From the loop's thread

  /// False: there is no thread, and none can be started.
  func add(
    _ job: BlockingPool.Job, _ service: BlockingPool.Service, _ origin: Origin?,
    _ work: @escaping Work
  ) -> Bool {
    locked {
      entries.append(Entry(job: job, service: service, origin: origin, work: work))
      startThreadIfNeeded()
      pthread_cond_signal(change)
      return threads > 0
    }
  }

  func startFirstThread() { locked { startThreadIfNeeded() } }

  /// Whether jobs are queued and there is no thread for them.
  var isStranded: Bool { locked { threads == 0 && !entries.isEmpty } }

  func waitingCount(of service: BlockingPool.Service) -> Int {
    locked { entries.count { $0.service == service } }
  }

  func remove(_ job: BlockingPool.Job) { locked { entries.removeAll { $0.job == job } } }

  func takeResults() -> [(BlockingPool.Job, any Sendable)] {
    locked {
      defer { results = [] }
      return results
    }
  }

  func close() {
    locked {
      isClosed = true
      entries = []
      results = []
      wakeup = nil
    }
    pthread_cond_broadcast(change)
  }

  func finish() {
    close()
    pthread_mutex_lock(lock)
    while running.contains(where: { $0 > 0 }) { pthread_cond_wait(change, lock) }
    pthread_mutex_unlock(lock)
  }

  // MARK: Threads

  /// The first job whose service and origin have not reached their limits.
  private var nextIndex: Int? {
    entries.firstIndex { entry in
      guard running[entry.service.rawValue] < entry.service.most else { return false }
      guard let share = entry.share else { return true }
      return (runningShares[share] ?? 0) < entry.service.mostPerOrigin
    }
  }

  private func begun(_ entry: Entry) {
    running[entry.service.rawValue] += 1
    if let share = entry.share { runningShares[share, default: 0] += 1 }
  }

  private func ended(_ entry: Entry) {
    running[entry.service.rawValue] -= 1
    guard let share = entry.share, let count = runningShares[share] else { return }
    runningShares[share] = count > 1 ? count - 1 : nil
  }

  /// The lock is held. An idle thread is about to look for a job, so a new thread is needed only if there is none.
  private func startThreadIfNeeded() {
    guard idle == 0, nextIndex != nil, !isClosed else { return }
    // The loop handles the signals: only its thread expects to be interrupted.
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
        if let data { Unmanaged<JobQueue>.fromOpaque(data).takeRetainedValue().serve() }
        return nil
      }, held.toOpaque())
    guard status == 0 else { return held.release() }
    pthread_detach(thread)
    threads += 1
    idle += 1
  }

  private func serve() {
    // On Linux this affects the calling thread only.
    if niceness > 0 { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness) }
    pthread_mutex_lock(lock)
    while !isClosed {
      guard let index = nextIndex else {
        if idle > JobQueue.mostIdle { break }
        pthread_cond_wait(change, lock)
        continue
      }
      let entry = entries.remove(at: index)
      idle -= 1
      begun(entry)
      startThreadIfNeeded()
      pthread_mutex_unlock(lock)
      let result = entry.work()
      pthread_mutex_lock(lock)
      ended(entry)
      idle += 1
      if isClosed {
        pthread_cond_broadcast(change)
      } else {
        results.append((entry.job, result))
        wakeup?.wake()
      }
    }
    idle -= 1
    threads -= 1
    pthread_mutex_unlock(lock)
  }
}
