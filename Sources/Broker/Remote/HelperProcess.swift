// Helper programs that carry connections: ssh, or the command of transport ext.
@preconcurrency import Glibc
import Streams

/// A program that the broker starts, whose standard input and output are a connection. Its standard error goes to the
/// log, up to a limit.
final class HelperProcess: Handler {
  /// Bytes of its standard error that are logged.
  private static let mostLogged = 8 << 10
  /// Longest part of one line that is logged, in bytes.
  private static let longestLine = 512

  let name: String
  private let children: Children
  private let pid: pid_t
  private var socket: Descriptor?
  private let errors: Descriptor
  private var watcher: DescriptorWatcher
  private var line: [UInt8] = []
  private var logged = 0

  private init(
    _ pid: pid_t, name: String, socket: consuming Descriptor, errors: consuming Descriptor,
    children: Children
  ) {
    self.pid = pid
    self.name = name
    self.children = children
    self.socket = consume socket
    watcher = DescriptorWatcher(errors.number, on: children.reactor)
    self.errors = errors
    super.init()
    watcher.belong(to: self)
    watcher.watch(.read)
  }

  deinit { watcher.watch([]) }

  /// Starts the program, unless too many run for clients of that origin. `name` is used in log messages.
  static func start(
    _ arguments: [String], name: String, for origin: Origin, children: Children
  ) -> Result<HelperProcess, RemoteError> {
    guard children.helpers.tryReserve(for: origin) else {
      let helpers = children.helpers
      children.log.write(
        .helperLimitReached, [name, helpers.used(by: origin), helpers.used, origin])
      return .failure(RemoteError(.operationFailed, Message(.helperLimitOfClient, [name])))
    }
    let result = start(arguments, name: name, countedFor: origin, children: children)
    if case .failure = result { children.helpers.release(for: origin) }
    return result
  }

  private static func start(
    _ arguments: [String], name: String, countedFor origin: Origin, children: Children
  ) -> Result<HelperProcess, RemoteError> {
    let program = arguments.first ?? ""
    func failure(_ number: Int32) -> Result<HelperProcess, RemoteError> {
      // Only the log gets the name of the program.
      let text = errorText(number)
      children.log.write(.helperNotStarted, [name, program, text])
      return .failure(
        RemoteError(.systemError, Message(.helperNotStartedForClient, [name, text]), int1: number))
    }
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0
    else { return failure(errno) }
    let ours = Descriptor(ends[0])
    let theirs = Descriptor(ends[1])
    guard pipe(&ends) == 0 else { return failure(errno) }
    let reader = Descriptor(ends[0])
    let writer = Descriptor(ends[1])
    for end in [reader.number, writer.number] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    for end in [ours.number, reader.number] { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
    children.begin()
    let spawned = Spawn.start(
      arguments, input: theirs.number, output: theirs.number, errors: writer.number)
    switch spawned {
    case .failure(let error): return failure(error.number)
    case .success(let pid):
      children.add(pid, name: "\(name) (\(program), process \(pid))") { [unowned children] _ in
        children.helpers.release(for: origin)
      }
      return .success(
        HelperProcess(pid, name: name, socket: ours, errors: reader, children: children))
    }
  }

  /// Returns the connection the first time it is called.
  func takeSocket() -> Descriptor { socket.take() ?? Descriptor(-1) }

  /// The connection is closed.
  func end() {
    drain()
    watcher.watch([])
    children.end(pid)
  }

  override func ready(_ ready: Interest) { drain() }

  private func drain() {
    guard watcher.interest.contains(.read) else { return }
    var room = [UInt8](repeating: 0, count: 4096)
    // The rest is read in the next turn.
    for _ in 0..<4 {
      let count = read(errors.number, &room, room.count)
      if count < 0 { return }
      if count == 0 {
        logLine()
        return watcher.watch([])
      }
      for byte in room[..<count] {
        if byte == UInt8(ascii: "\n") { logLine() } else { line.append(byte) }
        if line.count >= HelperProcess.longestLine { logLine() }
      }
    }
  }

  /// Logs a line of its standard error, with control characters escaped.
  private func logLine() {
    defer { line.removeAll(keepingCapacity: true) }
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    let text = printable(String(decoding: line, as: UTF8.self))
    guard !text.allSatisfy({ $0 == " " }), logged < HelperProcess.mostLogged else { return }
    logged += line.count + 1
    children.log.write(.helperOutput, [name, text])
    if logged >= HelperProcess.mostLogged {
      children.log.write(.helperOutputTruncated, [name])
    }
  }
}

/// The broker's child processes: reaped when they end, and killed if they do not end in time.
final class Children {
  /// How long a program may take to end by itself after its connection has ended, and then after SIGTERM.
  private static let graceSeconds = (byItself: 1.0, terminated: 5.0)

  private struct Child {
    let name: String
    /// The time of the next action on the child.
    var dueAt = Double.infinity
    var isTerminated = false
    let ended: ((Int32) -> Void)?
  }

  let reactor: Reactor
  let log: BrokerLog
  /// Quota of running programs that carry clients' connections.
  var helpers = Quota(total: 256, share: 64)
  private var children: [pid_t: Child] = [:]
  private var watcher: SignalWatcher?
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in graceOver() }

  init(on reactor: Reactor, log: BrokerLog) {
    self.reactor = reactor
    self.log = log
  }

  /// Call it before the first process is started, so that the end of every process is noticed.
  func begin() {
    guard watcher == nil else { return }
    watcher = SignalWatcher(SIGCHLD, on: reactor) { [unowned self] in reap() }
  }

  /// - Parameter ended: receives the exit status, or 128 and the number of a signal.
  func add(_ pid: pid_t, name: String, ended: ((Int32) -> Void)? = nil) {
    log.write(.processStarted, [name])
    children[pid] = Child(name: name, ended: ended)
  }

  /// The child is no longer needed: it is terminated if it does not end by itself.
  func end(_ pid: pid_t) {
    guard children[pid] != nil else { return }
    children[pid]?.dueAt = reactor.now + Children.graceSeconds.byItself
    wait()
  }

  /// The broker ends. Terminates every child that is no longer needed.
  func endAll() {
    for (pid, child) in children where child.dueAt.isFinite { kill(pid, SIGTERM) }
  }

  private func wait() {
    let next = children.values.map(\.dueAt).min() ?? .infinity
    if next.isFinite { alarm.start(seconds: max(0.01, next - reactor.now)) }
  }

  private func reap() {
    for (pid, child) in children {
      var status: Int32 = 0
      guard waitpid(pid, &status, WNOHANG) == pid else { continue }
      children[pid] = nil
      let signal = status & 0x7f
      let exitStatus = (status >> 8) & 0xff
      child.ended?(signal == 0 ? exitStatus : 128 + signal)
      if signal == 0 {
        log.write(
          .processExited, [child.name, exitStatus], at: exitStatus == 0 ? .debug : .info)
      } else {
        log.write(.processKilled, [child.name, signal])
      }
    }
    if children.isEmpty { alarm.stop() }
  }

  private func graceOver() {
    let now = reactor.now
    for (pid, child) in children where child.dueAt <= now + 0.01 {
      if child.isTerminated { log.write(.processDidNotExit, [child.name]) }
      kill(pid, child.isTerminated ? SIGKILL : SIGTERM)
      children[pid]?.isTerminated = true
      children[pid]?.dueAt = child.isTerminated ? .infinity : now + Children.graceSeconds.terminated
    }
    wait()
  }
}

/// Starting programs.
enum Spawn {
  /// An errno.
  struct Failure: Error { let number: Int32 }

  /// Environment variables that concern the broker alone, or that would make a program open a dialog on a display.
  private static let withheld = [
    "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_", "LIBVIRT_", "DISPLAY=", "WAYLAND_DISPLAY=",
    "SSH_ASKPASS", "VIRTBROKER",
  ]
  /// glibc's `POSIX_SPAWN_SETSID`, which Swift does not import.
  private static let newSession: Int16 = 0x80
  /// Swift does not import this function either.
  private static let closeFrom = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map {
    unsafeBitCast($0, to: (@convention(c) (UnsafeMutableRawPointer, Int32) -> Int32).self)
  }

  /// Starts `arguments[0]`, found by PATH, with the given descriptors as its first three (nil: /dev/null) and no
  /// others. It runs in a session of its own, so that it cannot prompt on a terminal.
  static func start(
    _ arguments: [String], input: Int32?, output: Int32?, errors: Int32?
  ) -> Result<pid_t, Failure> {
    guard let program = arguments.first, let closeFrom else {
      return .failure(Failure(number: ENOSYS))
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (index, descriptor) in [input, output, errors].enumerated() {
      if let descriptor {
        posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(index))
      } else {
        posix_spawn_file_actions_addopen(&actions, Int32(index), "/dev/null", O_RDWR, 0)
      }
    }
    _ = withUnsafeMutablePointer(to: &actions) { closeFrom($0, 3) }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(
      &attributes, newSession | Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))
    let words = arguments.map { strdup($0) } + [nil]
    let variables = environment.map { strdup($0) } + [nil]
    defer { for word in words + variables { free(word) } }
    var pid: pid_t = 0
    let status = posix_spawnp(&pid, program, &actions, &attributes, words, variables)
    return status == 0 ? .success(pid) : .failure(Failure(number: status))
  }

  private static var environment: [String] {
    var found: [String] = []
    var next = environ
    while let variable = next.pointee {
      let text = String(cString: variable)
      if !withheld.contains(where: { text.hasPrefix($0) }) { found.append(text) }
      next += 1
    }
    return found
  }
}
