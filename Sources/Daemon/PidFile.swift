// The pid file: who runs, and that nobody else does.
import Broker
@preconcurrency import Glibc
import Streams

/// A file with this process's number, decimal and without a newline, write-locked for as long as
/// the process lives. The lock, not the file, says that a daemon runs: a dead one's file is reused.
///
/// The lock belongs to the process and goes with the first close of any descriptor of the file, so
/// nothing else here may open it.
final class PidFile {
  let path: String
  private let account: ServiceAccount?
  private var descriptor: CInt

  /// Takes the file at `path`, or says who holds it. `account`: whom the process is about to become.
  init(_ path: String, for account: ServiceAccount? = nil) throws(StartFailure) {
    self.path = path
    self.account = account
    func failure(_ cause: any CustomStringConvertible) -> StartFailure {
      StartFailure(.configuration, .cannotTakePidFile, [path, cause])
    }
    // Not the property yet: a deinit must not remove what somebody else holds.
    var descriptor: CInt
    repeat {
      descriptor = try PidFile.open(path, for: account)
      if let refusal = PidFile.lock(descriptor) {
        close(descriptor)
        throw failure(refusal)
      }
      // The one who held it may have removed it between our opening and our locking.
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

  /// Lets the file belong to the user that the process is about to become.
  func give(to account: ServiceAccount) { giveFile(descriptor, to: account) }

  /// Its directory lets this process remove it.
  var canBeRemoved: Bool {
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let directory = slash > path.startIndex ? String(path[..<slash]) : "/"
    return access(directory, W_OK | X_OK) == 0
  }

  /// Removes the file, then lets go of the lock. One that cannot be removed is left empty: it names nobody.
  /// Doing it again does nothing.
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
        // Not blocking: a pipe with that name is refused, not waited for.
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

  /// Locks the whole file. Returns nil, or why it could not.
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
