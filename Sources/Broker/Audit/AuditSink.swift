// What audit records are written to.
import Glibc

/// The file or the journal's socket, and what is to be written there. `lock` is held while somebody writes, which
/// the loop does only for the last words of a broker; `shelf` never for long.
final class AuditSink: @unchecked Sendable {
  private static let journal = "/run/systemd/journal/socket"
  private let destination: AuditSettings.Destination
  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let shelf: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private var descriptor: Int32 = -1
  private var mustReopen = false
  /// To be written by the next `drain`, and what the one under way writes.
  private var shelved = AuditText()
  private var writing = AuditText()

  init(_ destination: AuditSettings.Destination) throws(BrokerFailure) {
    self.destination = destination
    pthread_mutex_init(lock, nil)
    pthread_mutex_init(shelf, nil)
    if let trouble = open() { throw BrokerFailure(trouble) }
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

  /// Takes whole lines, to be written by the next `drain`, and leaves an empty text.
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

  /// Nil, or why not.
  private func open() -> String? {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    switch destination {
    case .file(let path):
      let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY
      descriptor = Glibc.open(path, flags, 0o600)
      return descriptor < 0 ? "cannot open the audit file \(path): \(errorText(errno))" : nil
    case .journald:
      guard let address = Address.unix(AuditSink.journal) else { return "no journal" }
      let kind = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
      descriptor = socket(AF_UNIX, kind, 0)
      guard descriptor >= 0, address.withPointer({ connect(descriptor, $0, $1) }) == 0 else {
        return "cannot reach the journal at \(AuditSink.journal): \(errorText(errno))"
      }
      return nil
    }
  }

  /// Writes what was put there. Nil, or why not.
  func drain() -> String? {
    holding(lock) {
      let isStale = holding(shelf) {
        swap(&shelved, &writing)
        defer { mustReopen = false }
        return mustReopen
      }
      defer { writing.clear() }
      if writing.isEmpty, !isStale { return nil }
      if isStale || descriptor < 0, let trouble = open() { return trouble }
      switch destination {
      case .file(let path):
        return writeAll(writing.bytes) ? nil : "cannot write to \(path): \(errorText(errno))"
      case .journald:
        for line in writing.bytes.split(separator: UInt8(ascii: "\n")) where !tellJournal(line) {
          let number = errno
          // It may have been started again.
          close(descriptor)
          descriptor = -1
          return "the journal takes no records: \(errorText(number))"
        }
        return nil
      }
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

  /// The journal's own protocol: fields as lines of one datagram.
  private func tellJournal(_ line: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
    var datagram = Array("SYSLOG_IDENTIFIER=virtbrokerd\nPRIORITY=5\nMESSAGE=".utf8)
    datagram += line
    datagram.append(UInt8(ascii: "\n"))
    return datagram.withUnsafeBytes {
      send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    } > 0
  }
}
