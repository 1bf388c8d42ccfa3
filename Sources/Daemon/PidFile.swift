// The pid file: the process ID of the running daemon, and the lock that keeps a second one from starting.
import Broker
@preconcurrency import Glibc
import Streams

/// A file with this process's ID, decimal and without a newline, write-locked for as long as the process lives. The
/// lock, not the file, shows that a daemon runs: the file of an ended daemon is reused.
///
/// The lock belongs to the process and ends when the process first closes any descriptor of the file, so nothing else
/// in this process may open it.
final class PidFile {
  let path: String
  private let account: ServiceAccount?
  private var descriptor: CInt

  /// Locks the file at `path` and writes to it, or throws an error that names the process that holds it. `account`: the
  /// user that the process is about to become.
  init(_ path: String, for account: ServiceAccount? = nil) throws(StartFailure) {
    self.path = path
    self.account = account
    func failure(_ cause: any CustomStringConvertible) -> StartFailure {
      StartFailure(.configuration, .cannotTakePidFile, [path, cause])
    }
    // A local variable until the lock is held: the deinit must not remove a file that another process holds.
    var descriptor: CInt
    repeat {
      descriptor = try PidFile.open(path, for: account)
      if let refusal = PidFile.lock(descriptor) {
        close(descriptor)
        throw failure(refusal)
      }
      // The former holder may have removed the file between our opening and our locking it.
      if PidFile.isSame(descriptor, path) { break }
      close(descriptor)
    } while true
    guard PidFile.isRegular(descriptor) else {
      close(descriptor)
      throw failure(Message(.pidFileNotRegular))
    }
    let digits = Array(String(getpid()).utf8)
    guard ftruncate(descriptor, 0) == 0, write(descriptor, digits, digits.count) == digits.count
    else {
      let why = reason()
      PidFile.unlink(path, for: account)
      close(descriptor)
      throw failure(why)
    }
    self.descriptor = descriptor
  }

  deinit { remove() }

  /// Gives the file to the user that the process is about to become.
  func give(to account: ServiceAccount) { giveFile(descriptor, to: account) }

  /// Whether this process may remove the file from its directory.
  var canBeRemoved: Bool {
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let directory = slash > path.startIndex ? String(path[..<slash]) : "/"
    return access(directory, W_OK | X_OK) == 0
  }

  /// Removes the file, then releases the lock. If the file cannot be removed, it is emptied and names no process. A
  /// second call does nothing.
  func remove() {
    guard descriptor >= 0 else { return }
    if !PidFile.unlink(path, for: account) { ftruncate(descriptor, 0) }
    close(descriptor)
    descriptor = -1
  }

  private static func open(
    _ path: String, for account: ServiceAccount?
  ) throws(StartFailure) -> CInt {
    let opened: Result<CInt, StartFailure>
    do throws(BrokerFailure) {
      let descriptor = try access(absolute(path), for: account) {
        // O_NONBLOCK: opening a pipe with that name does not block.
        Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0o644)
      }
      guard descriptor < 0 else { return descriptor }
      let text = reason()
      opened = .failure(
        StartFailure(
          .configuration, .cannotTakePidFile,
          [path, account?.cause(text, at: absolute(path)) ?? text]))
    } catch {
      opened = .failure(StartFailure(.privileges, [error.message]))
    }
    return try opened.get()
  }

  /// A file with a second name could be any other file.
  private static func isRegular(_ descriptor: CInt) -> Bool {
    var status = stat()
    return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
      && status.st_nlink == 1
  }

  @discardableResult
  private static func unlink(_ path: String, for account: ServiceAccount?) -> Bool {
    (try? access(absolute(path), for: account) { Glibc.unlink(path) == 0 }) ?? false
  }

  /// Locks the whole file. Returns nil, or the cause of the failure.
  private static func lock(_ descriptor: CInt) -> (any CustomStringConvertible)? {
    var lock = flock()
    lock.l_type = Int16(F_WRLCK)
    lock.l_whence = Int16(SEEK_SET)
    var holder = lock
    if fcntl(descriptor, F_SETLK, &lock) == 0 { return nil }
    let number = errno
    guard number == EACCES || number == EAGAIN, fcntl(descriptor, F_GETLK, &holder) == 0 else {
      return reason(number)
    }
    return holder.l_pid > 0 ? Message(.pidFileLocked, [holder.l_pid]) : Message(.pidFileWasLocked)
  }

  private static func isSame(_ descriptor: CInt, _ path: String) -> Bool {
    var ours = stat()
    var there = stat()
    return fstat(descriptor, &ours) == 0 && stat(path, &there) == 0
      && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino
  }
}
