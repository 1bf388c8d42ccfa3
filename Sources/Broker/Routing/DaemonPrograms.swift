// The daemons' programs: finding them, and starting a user's own daemon when a client needs it.
@preconcurrency import Glibc
import Streams

/// The places of libvirt's daemon programs.
public struct DaemonPrograms: Sendable, Equatable {
  public var directories: [String]
  /// Whether the broker starts users' daemons on demand.
  public var starts: Bool

  public init(directories: [String], starts: Bool) {
    self.directories = directories
    self.starts = starts
  }

  /// The places from libvirt's environment variables, and the places where packages install such programs.
  public static func ofThisProcess() -> DaemonPrograms {
    func value(_ name: String) -> String? {
      getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    let own = value("VIRTD_PATH") ?? value("LIBVIRTD_PATH")
    return DaemonPrograms(
      directories: own.map { [$0] } ?? ["/usr/sbin", "/usr/bin", "/usr/local/sbin"],
      starts: value("LIBVIRT_AUTOSTART") != "0")
  }

  public func path(of daemon: String) -> String? {
    directories.lazy.map { "\($0)/\(daemon)" }.first { access($0, X_OK) == 0 }
  }

  /// Whether libvirtd serves everything on this host: it is installed and no modular daemon is.
  public var isMonolithic: Bool {
    path(of: "libvirtd") != nil
      && !["virtqemud", "virtxend", "virtlxcd", "virtvboxd", "virtchd", "virtbhyved", "virtvzd"]
        .contains { path(of: $0) != nil }
  }
}

/// Starts each of a user's daemons once. It takes the same lock as libvirt's clients, so that neither they nor another
/// broker start a second one.
final class DaemonStarter {
  enum Outcome: Equatable {
    /// The daemon is starting, or another process is starting it: try again in a moment.
    case wait
    case failed(Message)
  }

  private final class Start {
    let path: String
    private var lock: Descriptor?
    /// The daemon's exit status, if it has ended, and the number of checks since.
    var end: Int32?
    var looks = 0

    init(lock: consuming Descriptor, path: String) {
      self.lock = consume lock
      self.path = path
    }

    func unlock() {
      guard let held = lock.take() else { return }
      unlink(path)
      _ = held
    }
  }

  private static let lookSeconds = 0.02

  private let children: Children
  private let reactor: Reactor
  private let log: BrokerLog
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in look() }
  private var starts: [String: Start] = [:]

  init(children: Children, on reactor: Reactor, log: BrokerLog) {
    self.children = children
    self.reactor = reactor
    self.log = log
  }

  /// No process serves `socket`: starts the daemon, unless another process is starting it.
  func start(_ daemon: String, program: String, socket: String) -> Outcome {
    if let start = starts[socket] {
      guard let end = start.end else { return .wait }
      return .failed(Message(.daemonExited, [daemon, end]))
    }
    let slash = socket.lastIndex(of: "/") ?? socket.startIndex
    let path = "\(socket[..<slash])/\(daemon).lock"
    let lock = Descriptor(
      open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600))
    guard lock.number >= 0 else {
      return .failed(Message(.lockFileNotOpened, [path, errorText(errno)]))
    }
    var wish = flock()
    wish.l_type = Int16(F_WRLCK)
    wish.l_whence = Int16(SEEK_SET)
    guard fcntl(lock.number, F_SETLK, &wish) == 0 else {
      // Another process is starting it.
      return errno == EAGAIN || errno == EACCES
        ? .wait : .failed(Message(.lockNotTaken, [path, errorText(errno)]))
    }
    // The process that had the lock before may have started it.
    if DaemonStarter.answers(socket) {
      unlink(path)
      return .wait
    }
    children.begin()
    switch Spawn.start([program, "--timeout=120"], input: nil, output: nil, errors: nil) {
    case .failure(let error):
      unlink(path)
      return .failed(Message(.daemonNotStarted, [program, errorText(error.number)]))
    case .success(let pid):
      log.write(.daemonStarted, [program, pid])
      let start = Start(lock: lock, path: path)
      starts[socket] = start
      alarm.start(seconds: DaemonStarter.lookSeconds)
      children.add(pid, name: "\(daemon) (process \(pid))") {
        start.end = $0
        start.unlock()
      }
      return .wait
    }
  }

  /// Releases the locks of daemons that serve, and forgets those that have ended.
  private func look() {
    for (socket, start) in starts {
      guard start.end != nil || DaemonStarter.answers(socket) else { continue }
      start.unlock()
      // After ten checks all clients that wait for the daemon have tried again.
      start.looks += 1
      if start.end == nil || start.looks > 10 { starts[socket] = nil }
    }
    if !starts.isEmpty { alarm.start(seconds: DaemonStarter.lookSeconds) }
  }

  private static func answers(_ socket: String) -> Bool {
    let probe = Descriptor(Glibc.socket(AF_UNIX, socketKind, 0))
    guard probe.number >= 0, let address = Address.unix(socket) else { return false }
    return address.withPointer { connect(probe.number, $0, $1) == 0 || errno == EAGAIN } ?? false
  }
}
