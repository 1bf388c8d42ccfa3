// The destination of audit records.
import Glibc
import Streams

/// The file or the journal's socket, and the records to write there. A thread holds `lock` while it writes; the loop
/// does so only for the last records of a broker. `shelf` is never held for long.
final class AuditSink: @unchecked Sendable {
  private static let journal = "/run/systemd/journal/socket"
  private let destination: AuditSettings.Destination
  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let shelf: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private var descriptor: Int32 = -1
  private var mustReopen = false
  /// The text for the next `drain`, and the text that the current one writes.
  private var shelved = AuditText()
  private var writing = AuditText()

  /// `account`: the user that the process is about to become; the file then belongs to that user.
  init(
    _ destination: AuditSettings.Destination, for account: ServiceAccount?
  ) throws(BrokerFailure) {
    self.destination = destination
    pthread_mutex_init(lock, nil)
    pthread_mutex_init(shelf, nil)
    if let failure = open(for: account) { throw BrokerFailure(failure) }
    if case .file = destination, let account { giveFile(descriptor, to: account) }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    for mutex in [lock, shelf] {
      pthread_mutex_destroy(mutex)
      mutex.deallocate()
    }
  }

  private func holding<Result>(
    _ mutex: UnsafeMutablePointer<pthread_mutex_t>, _ body: () -> Result
  ) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  func reopen() { holding(shelf) { mustReopen = true } }

  /// Takes whole lines for the next `drain`, and leaves an empty text.
  func put(_ lines: inout AuditText) {
    holding(shelf) {
      if shelved.isEmpty {
        swap(&shelved, &lines)
      } else {
        shelved.add(lines.bytes)
        lines.clear()
      }
    }
  }

  /// Returns nil, or the error; the old descriptor then stays open.
  private func open(for account: ServiceAccount? = nil) -> Message? {
    let opened: Result<Int32, BrokerFailure> =
      switch destination {
      case .file(let path): AuditSink.openFile(path, account)
      case .journald: AuditSink.connectJournal()
      }
    switch opened {
    case .success(let number):
      if descriptor >= 0 { close(descriptor) }
      descriptor = number
      return nil
    case .failure(let failure): return failure.message
    }
  }

  private static func openFile(
    _ path: String, _ account: ServiceAccount?
  ) -> Result<Int32, BrokerFailure> {
    let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY
    do throws(BrokerFailure) {
      // With O_NONBLOCK, opening a pipe without a reader fails instead of blocking.
      let number = try access(path, for: account) { Glibc.open(path, flags | O_NONBLOCK, 0o600) }
      guard number < 0 else {
        _ = fcntl(number, F_SETFL, O_APPEND)
        return .success(number)
      }
      let text = errorText(errno)
      return .failure(
        BrokerFailure(.cannotOpenAuditFile, [path, account?.cause(text, at: path) ?? text]))
    } catch {
      return .failure(error)
    }
  }

  private static func connectJournal() -> Result<Int32, BrokerFailure> {
    guard let address = Address.unix(AuditSink.journal) else {
      return .failure(
        BrokerFailure(.cannotConnectToAuditJournal, [AuditSink.journal, errorText(ENAMETOOLONG)]))
    }
    let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0, address.withPointer({ connect(number, $0, $1) }) == 0 else {
      let why = errorText(errno)
      if number >= 0 { close(number) }
      return .failure(BrokerFailure(.cannotConnectToAuditJournal, [AuditSink.journal, why]))
    }
    return .success(number)
  }

  /// The result of writing.
  struct Outcome: Sendable {
    /// Why the records were lost.
    var lost: Message?
    /// Why the file could not be reopened. The old one is still used.
    var kept: Message?
  }

  /// Writes the records that were put here.
  func drain() -> Outcome {
    var outcome = Outcome()
    outcome.lost = drain(&outcome.kept)
    return outcome
  }

  /// The same at the end of the broker, on the loop's thread. If the destination accepts nothing, it waits for a
  /// limited time.
  func drain(within seconds: Int) -> Outcome {
    var end = Clock.wall.time(in: seconds)
    guard pthread_mutex_timedlock(lock, &end) == 0 else {
      return Outcome(lost: Message(.auditOutputTooSlow, [seconds]))
    }
    defer { pthread_mutex_unlock(lock) }
    var outcome = Outcome()
    outcome.lost = drainHeld(&outcome.kept, waits: false)
    return outcome
  }

  private func drain(_ kept: inout Message?) -> Message? {
    holding(lock) { drainHeld(&kept, waits: true) }
  }

  private func drainHeld(_ kept: inout Message?, waits: Bool) -> Message? {
    let isStale = holding(shelf) {
      swap(&shelved, &writing)
      defer { mustReopen = false }
      return mustReopen
    }
    defer { writing.clear() }
    if writing.isEmpty, !isStale { return nil }
    if isStale || descriptor < 0, let failure = open() {
      guard descriptor >= 0 else { return failure }
      kept = failure
    }
    // No other process shares this open file, so the flags affect none.
    if !waits { _ = fcntl(descriptor, F_SETFL, O_APPEND | O_NONBLOCK) }
    switch destination {
    case .file(let path):
      return writeAll(writing.bytes)
        ? nil : Message(.cannotWriteAuditFile, [path, errorText(errno)])
    case .journald:
      for line in writing.bytes.split(separator: UInt8(ascii: "\n")) where !tellJournal(line) {
        let number = errno
        // The journal's daemon may have been restarted.
        close(descriptor)
        descriptor = -1
        return Message(.cannotSendToAuditJournal, [errorText(number)])
      }
      return nil
    }
  }

  private func writeAll(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    var done = 0
    while let base = bytes.baseAddress, done < bytes.count {
      let count = Glibc.write(descriptor, base + done, bytes.count - done)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return false }
      done += count
    }
    return true
  }

  /// The journal's native protocol: fields as lines of one datagram.
  private func tellJournal(_ line: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
    var datagram = Array("SYSLOG_IDENTIFIER=virtbrokerd\nPRIORITY=5\nMESSAGE=".utf8)
    datagram += line
    datagram.append(UInt8(ascii: "\n"))
    return datagram.withUnsafeBytes {
      send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    } > 0
  }
}
