// Processes that tests start. None outlives the test process, however that ends.
import Foundation
import Glibc

/// A failure of the harness or of a part it needs, in one sentence.
struct Trouble: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// A running process, with the descriptors given to it.
final class Child: @unchecked Sendable {
  let pid: pid_t
  private let lock = NSLock()
  private var status: Int32?

  /// Starts `arguments[0]`, found on PATH. Descriptors 0, 1 and 2 of the new process are the given ones (nil:
  /// /dev/null), and it has no others. The kernel kills it when the test process dies, unless it ends by itself at
  /// the end of its input.
  init(
    _ arguments: [String], input: Int32? = nil, output: Int32? = nil, errors: Int32? = nil,
    environment: [String: String] = [:], diesWithUs: Bool = true
  ) throws {
    let prefix = diesWithUs ? ["setpriv", "--pdeathsig", "KILL", "--"] : []
    var environment = environment
    environment["HOME"] = environment["HOME"] ?? Scratch.home
    environment[Leftovers.mark] = "\(getpid())"
    pid = try Spawner.shared.spawn(prefix + arguments, [input, output, errors], environment)
  }

  deinit { end() }

  var isRunning: Bool { poll() == nil }

  /// Waits until the process has ended or `limit` has passed. Returns its exit status (128 plus the signal's number
  /// if a signal killed it), or nil if it still runs. Blocks the calling thread.
  func wait(limit: Duration) -> Int32? {
    let deadline = ContinuousClock.now + limit
    while true {
      if let status = poll() { return status }
      if ContinuousClock.now >= deadline { return nil }
      usleep(2000)
    }
  }

  /// Sends a signal if the process has not ended. It never reaches another process that reused the ID.
  func signal(_ number: Int32) {
    lock.withLock { if status == nil { _ = kill(pid, number) } }
  }

  /// Kills the process if it still runs, and waits for it.
  func end() {
    signal(SIGKILL)
    _ = wait(limit: .seconds(10))
  }

  private func poll() -> Int32? {
    lock.withLock {
      if let status { return status }
      var word: Int32 = 0
      guard waitpid(pid, &word, WNOHANG) == pid else { return nil }
      let signal = word & 0x7f
      status = signal == 0 ? (word >> 8) & 0xff : 128 + signal
      return status
    }
  }
}

/// The thread that starts every process. The kernel's "parent death" signal is sent at the death of the thread that
/// started the child, so this thread lives as long as the test process.
private final class Spawner: @unchecked Sendable {
  static let shared = Spawner()
  private let condition = NSCondition()
  private var requests: [() -> Void] = []

  private init() {
    let thread = Thread { [unowned self] in
      while true {
        condition.lock()
        while requests.isEmpty { condition.wait() }
        let request = requests.removeFirst()
        condition.unlock()
        request()
      }
    }
    thread.name = "spawner"
    thread.start()
  }

  func spawn(_ arguments: [String], _ descriptors: [Int32?], _ environment: [String: String]) throws
    -> pid_t
  {
    let done = DispatchSemaphore(value: 0)
    let answer = Answer()
    condition.withLock {
      requests.append {
        (answer.error, answer.pid) = Self.start(arguments, descriptors, environment)
        done.signal()
      }
      condition.signal()
    }
    done.wait()
    guard answer.error == 0 else {
      throw Trouble(
        "cannot start \(arguments.joined(separator: " ")): \(String(cString: strerror(answer.error)))"
      )
    }
    return answer.pid
  }

  private final class Answer: @unchecked Sendable {
    var error: Int32 = 0
    var pid: pid_t = 0
  }

  /// glibc's `POSIX_SPAWN_SETSID`. Swift imports only the POSIX part of the header.
  private static let newSession: Int16 = 0x80
  /// glibc's `posix_spawn_file_actions_addclosefrom_np`, for the same reason.
  private static let closeFrom = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map {
    unsafeBitCast(
      $0, to: (@convention(c) (UnsafeMutableRawPointer, Int32) -> Int32).self)
  }

  private static func start(
    _ arguments: [String], _ descriptors: [Int32?], _ environment: [String: String]
  ) -> (Int32, pid_t) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (index, descriptor) in descriptors.enumerated() {
      if let descriptor {
        posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(index))
      } else {
        posix_spawn_file_actions_addopen(&actions, Int32(index), "/dev/null", O_RDWR, 0)
      }
    }
    guard let closeFrom else { return (ENOSYS, 0) }
    _ = withUnsafeMutablePointer(to: &actions) { closeFrom($0, 3) }
    // A session of its own: a keyboard interrupt reaches only the test process, whose end then ends the children.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, newSession | Int16(POSIX_SPAWN_SETSIGMASK))

    // The same message language everywhere, and no libvirt settings of the user.
    var variables = ProcessInfo.processInfo.environment
    for name in variables.keys where name.hasPrefix("LIBVIRT_") || name.hasPrefix("XDG_") {
      variables[name] = nil
    }
    variables["LC_ALL"] = "C"
    variables.merge(environment) { $1 }

    let words = arguments.map { strdup($0) } + [nil]
    let pairs = variables.map { strdup("\($0)=\($1)") } + [nil]
    defer { for word in words + pairs { free(word) } }
    var pid: pid_t = 0
    let error = posix_spawnp(&pid, arguments[0], &actions, &attributes, words, pairs)
    return (error, pid)
  }
}

/// Runs the blocking `body` on a thread of its own, because the test threads are few. It remains part of the calling
/// task, so that its expectations count for that test.
func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value
{
  try await withTaskExecutorPreference(BlockingThreads.shared) { try body() }
}

/// Gives each job a thread that it may block.
private final class BlockingThreads: TaskExecutor {
  static let shared = BlockingThreads()

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let thread = Thread { job.runSynchronously(on: BlockingThreads.shared.asUnownedTaskExecutor()) }
    thread.stackSize = 1 << 20
    thread.start()
  }
}
