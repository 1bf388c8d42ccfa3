// Child processes.
public import Glibc

/// A child process. It is ended when it is released, if it still runs.
public final class Child: @unchecked Sendable {
  public let pid: pid_t
  /// Whether it has been waited for.
  private var isOver = false
  /// Its status from `waitpid`.
  private var status: Int32 = 0

  /// Starts the program at `path` without input. Its output goes to the file at `log`.
  public init(_ path: String, _ arguments: [String], log: String = "/dev/null") throws(EndFailure) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)

    // A signal this process ignores or blocks must still reach the child.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))

    var words = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, path, &actions, &attributes, &words, environ)
    guard code == 0 else { throw .system("starting \(path)", code) }
    self.pid = pid
  }

  deinit { stop() }

  /// Whether the process still runs.
  public var isRunning: Bool {
    if !isOver { isOver = waitpid(pid, &status, WNOHANG) != 0 }
    return !isOver
  }

  /// Waits for the process to end, at most `seconds`. Returns 0 if it succeeded, another status of `waitpid` if it
  /// failed, and nil if it still runs. It polls every half millisecond, which is cheap and exact enough for a program
  /// that runs a hundred times as long.
  public func wait(seconds: Double) -> Int32? {
    let end = now() + UInt64(max(0, min(seconds, 86_400)) * 1e9)
    while isRunning {
      guard now() < end else { return nil }
      usleep(500)
    }
    return status
  }

  /// Ends the process: SIGTERM first, SIGKILL after two seconds.
  public func stop() {
    guard isRunning else { return }
    kill(pid, SIGTERM)
    for _ in 0..<200 {
      guard isRunning else { return }
      usleep(10_000)
    }
    kill(pid, SIGKILL)
    waitpid(pid, nil, 0)
    isOver = true
  }
}
