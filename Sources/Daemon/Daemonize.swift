// `-d`: the program starts itself again in the background and reports the result.
@preconcurrency import Glibc
import Streams

/// The background process's pipe to the process that started it: one status byte, then the reason as text.
///
/// The background process is not a fork. The program starts again from its own file, so that it inherits no
/// half-initialised state. An environment variable holds the pipe's number.
struct Background: ~Copyable {
  private static let variable = "VIRTBROKERD_STATUS_FD"
  private let pipe: CInt

  // MARK: In the background

  /// Takes over the pipe if `launch` started this process, and leaves the terminal.
  init?() {
    guard let text = getenv(Background.variable), let pipe = CInt(String(cString: text)) else {
      return nil
    }
    unsetenv(Background.variable)
    var status = stat()
    guard fstat(pipe, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else { return nil }
    // No other descriptor of the starter stays open: a process that waits for the end of one of the starter's pipes
    // would wait for the end of the daemon.
    self.pipe = STDERR_FILENO + 1
    dup2(pipe, self.pipe)
    closefrom(self.pipe + 1)
    _ = fcntl(self.pipe, F_SETFD, FD_CLOEXEC)
    setsid()
  }

  /// Reports to the starter that the daemon serves, so that the starter exits. Also leaves the working directory, so
  /// that its file system can be unmounted.
  consuming func reportReady() {
    _ = chdir("/")
    Background.send([0], to: pipe)
    close(pipe)
  }

  consuming func report(_ failure: StartFailure) {
    let text = failure.messages.map(\.line).joined(separator: "; ")
    Background.send([UInt8(truncatingIfNeeded: failure.stage.rawValue)] + text.utf8, to: pipe)
    close(pipe)
  }

  private static func send(_ bytes: [UInt8], to pipe: CInt) {
    // One write of at most a pipe's 4096 bytes is atomic. An error because the reader has exited does not matter.
    let bytes = bytes.prefix(4096)
    _ = bytes.withUnsafeBytes { write(pipe, $0.baseAddress, $0.count) }
  }

  // MARK: In the foreground

  /// Starts the program again with the same arguments and waits for its status byte.
  static func launch(_ arguments: [String]) throws(StartFailure) {
    var ends: [CInt] = [-1, -1]
    guard Glibc.pipe(&ends) == 0 else { throw failure(Message(.cannotCreatePipe, [reason()])) }
    let (reader, writer) = (ends[0], ends[1])
    _ = fcntl(reader, F_SETFD, FD_CLOEXEC)
    setenv(variable, String(writer), 1)
    let started = spawn(arguments)
    close(writer)
    defer { close(reader) }
    let process = try started.get()
    let answer = everything(from: reader)
    guard let status = answer.first else { throw failure(howItEnded(process)) }
    guard status != 0 else { return }
    let stage = Stage(rawValue: Int32(status)) ?? .configuration
    // The text contains its identifiers.
    let cause = String(decoding: answer.dropFirst(), as: UTF8.self)
    throw StartFailure(stage, .backgroundStartFailed, [stage.name, cause])
  }

  private static func spawn(_ arguments: [String]) -> Result<pid_t, StartFailure> {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0)
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDERR_FILENO)
    let vector = CStrings(arguments)
    var process: pid_t = 0
    let program = thisProgram()
    let number = withExtendedLifetime(vector) {
      posix_spawn(&process, program, &actions, nil, vector.pointers, environ)
    }
    return number == 0
      ? .success(process)
      : .failure(failure(Message(.cannotExecuteAgain, [program, reason(number)])))
  }

  /// The program's own path, so that process lists show the daemon under its name. If the file has been replaced since
  /// the start, the kernel's link, which still leads to it.
  private static func thisProgram() -> String {
    let link = "/proc/self/exe"
    guard let path = realpath(link, nil) else { return link }
    defer { free(path) }
    return access(path, X_OK) == 0 ? String(cString: path) : link
  }

  private static func everything(from reader: CInt) -> [UInt8] {
    var bytes: [UInt8] = []
    var room = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = room.withUnsafeMutableBytes { read(reader, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return bytes }
      bytes += room[..<count]
    }
  }

  private static func howItEnded(_ process: pid_t) -> Message {
    var status: CInt = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    let signal = status & 0x7f
    return signal != 0
      ? Message(.killedBeforeReady, [signal])
      : Message(.exitedBeforeReady, [(status >> 8) & 0xff])
  }

  private static func failure(_ cause: Message) -> StartFailure {
    StartFailure(.configuration, .backgroundProcessFailed, [cause])
  }
}
