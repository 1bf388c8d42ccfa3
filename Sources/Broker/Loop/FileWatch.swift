// Detects changes of files, however they are replaced.
import Glibc
import Streams

/// The system call `stat`; the structure has the same name.
private func lookAt(_ path: String, _ status: inout stat) -> Int32 { stat(path, &status) }

/// What identifies a file's content without reading it.
struct FileLook: Equatable {
  var device: dev_t = 0
  var inode: ino_t = 0
  var size: off_t = -1
  var seconds = 0
  var nanoseconds = 0

  init(_ path: String) {
    var status = stat()
    guard lookAt(path, &status) == 0 else { return }
    device = status.st_dev
    inode = status.st_ino
    size = status.st_size
    // The time of the last change of any kind: programs cannot set it, as they can the time of the content's last
    // change.
    seconds = status.st_ctim.tv_sec
    nanoseconds = status.st_ctim.tv_nsec
  }
}

/// Watches the directories of the files, since files are mostly replaced and not rewritten. Reports a change after a
/// quiet moment.
final class FileWatch: Handler {
  /// Interval of the checks for changes that inotify does not report: changes made by another machine, or further up
  /// the path.
  private static let lookSeconds = 60.0
  private static let events = UInt32(
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB
      | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

  /// Constant events delay the check by about this long at most.
  private static let mostSeconds = 5.0

  private let paths: [String]
  private let settleSeconds: Double
  private let log: BrokerLog
  private let changed: () -> Void
  private let descriptor: Descriptor
  private var watcher: DescriptorWatcher
  private var looks: [FileLook] = []
  /// The time of the first event since the last check.
  private var happenedAt: Double?
  private let reactor: Reactor
  private lazy var settleAlarm = Alarm(on: reactor) { [unowned self] in look() }
  private lazy var lookAlarm = Alarm(on: reactor) { [unowned self] in minuteUp() }

  init(
    _ paths: [String], settleSeconds: Double, on reactor: Reactor, log: BrokerLog,
    _ changed: @escaping () -> Void
  ) {
    self.paths = paths
    self.settleSeconds = settleSeconds
    self.log = log
    self.changed = changed
    self.reactor = reactor
    descriptor = Descriptor(inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC)))
    watcher = DescriptorWatcher(descriptor.number, on: reactor)
    super.init()
    watcher.belong(to: self)
  }

  deinit { watcher.watch([]) }

  func start() {
    looks = paths.map { FileLook($0) }
    watchDirectories()
    if descriptor.number >= 0 { watcher.watch(.read) }
    lookAlarm.start(seconds: FileWatch.lookSeconds)
  }

  /// Watches both the directory of each path and that of the file a link leads to. A repeated call is harmless.
  private func watchDirectories() {
    guard descriptor.number >= 0 else { return }
    var directories: Set<String> = []
    for path in paths {
      directories.insert(FileWatch.directory(of: path))
      guard let real = realpath(path, nil) else { continue }
      directories.insert(FileWatch.directory(of: String(cString: real)))
      free(real)
    }
    for directory in directories
    where inotify_add_watch(descriptor.number, directory, FileWatch.events) < 0 {
      log.write(.directoryNotWatched, [directory, errorText(errno)])
    }
  }

  private static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// Discards the events: it matters only that there were some.
  override func ready(_ ready: Interest) {
    withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 8) { room in
      while read(descriptor.number, room.baseAddress, room.count) > 0 {}
    }
    let first = happenedAt ?? reactor.now
    happenedAt = first
    if reactor.now - first < FileWatch.mostSeconds { settleAlarm.start(seconds: settleSeconds) }
  }

  private func minuteUp() {
    look()
    lookAlarm.start(seconds: FileWatch.lookSeconds)
  }

  private func look() {
    happenedAt = nil
    watchDirectories()
    let now = paths.map { FileLook($0) }
    guard now != looks else { return }
    looks = now
    changed()
  }
}
