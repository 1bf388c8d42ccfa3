// Where audit records go: a file, or the journal. The loop only collects them; a thread writes.
import Glibc
import Streams

/// What the audit is to keep, and where.
public struct AuditSettings: Sendable, Equatable {
  public enum Destination: Sendable, Equatable {
    case file(String)
    case journald
  }
  /// Nil: no audit.
  public var destination: Destination?
  /// Calls that are recorded, by what they do.
  public var calls: Set<AuditClass> = [.change]
  public init() {}
}

/// What a call does, as far as its access permissions tell.
public enum AuditClass: String, Sendable, CaseIterable {
  /// It changes something.
  case change
  /// It shows what is inside a guest or a volume, or a secret.
  case disclose
  /// It only looks.
  case read
}

/// The audit. Records are kept in memory until they are written, which is bounded: what does not fit is
/// dropped, counted and said in a record of its own.
final class AuditLog {
  /// Bytes that may wait to be written.
  private static let most = 1 << 20
  /// Bytes that are written without collecting more.
  private static let many = 1 << 18
  /// How long records are collected, so that many of them cost one write.
  private static let collectSeconds = 0.05
  private static let complaintSeconds = 60.0

  private let keepsChanges: Bool
  private let keepsDisclosures: Bool
  private let keepsReads: Bool
  private let reactor: Reactor
  private let log: BrokerLog
  private let sink: AuditSink
  private let workshop: Workshop
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in flush() }
  private var waiting: [UInt8] = []
  private var waitingRecords: UInt64 = 0
  /// Bytes that the other thread is writing.
  private var underWay = 0
  private var isCollecting = false
  private var droppedUntold: UInt64 = 0
  private var complainedAt = -Double.infinity
  private(set) var written: UInt64 = 0
  private(set) var dropped: UInt64 = 0

  /// - Throws: why the destination cannot be written to.
  init?(
    _ settings: AuditSettings, on reactor: Reactor, log: BrokerLog
  ) throws(BrokerFailure) {
    guard let destination = settings.destination else { return nil }
    keepsChanges = settings.calls.contains(.change)
    keepsDisclosures = settings.calls.contains(.disclose)
    keepsReads = settings.calls.contains(.read)
    self.reactor = reactor
    self.log = log
    sink = try AuditSink(destination)
    workshop = Workshop(on: reactor)
  }

  /// Some calls are recorded.
  var keepsCalls: Bool { keepsChanges || keepsDisclosures || keepsReads }

  /// Calls that do this are recorded.
  func keeps(_ access: Access) -> Bool {
    switch access {
    case .change: keepsChanges
    case .disclose: keepsDisclosures
    case .read: keepsReads
    }
  }

  /// What the other thread tells.
  private struct Written: Sendable {
    let trouble: String?
  }

  func add(_ record: consuming AuditRecord) {
    let line = record.finished()
    guard waiting.count + underWay + line.count <= AuditLog.most else {
      dropped &+= 1
      droppedUntold &+= 1
      return
    }
    waiting += line
    waitingRecords += 1
    guard underWay == 0 else { return }
    if waiting.count >= AuditLog.many {
      if isCollecting { alarm.stop() }
      flush()
    } else if !isCollecting {
      isCollecting = true
      alarm.start(seconds: AuditLog.collectSeconds)
    }
  }

  private func flush() {
    isCollecting = false
    guard underWay == 0, !waiting.isEmpty else { return }
    sayDropped()
    let (records, sink) = (waitingRecords, sink)
    underWay = waiting.count
    sink.put(waiting)
    waiting = []
    waitingRecords = 0
    workshop.run(
      { Written(trouble: sink.drain()) },
      tell: { [weak self] written in self?.wrote(records, written.trouble) })
  }

  private func wrote(_ records: UInt64, _ trouble: String?) {
    underWay = 0
    note(records, trouble)
    if !waiting.isEmpty || droppedUntold > 0 { flush() }
  }

  private func note(_ records: UInt64, _ trouble: String?) {
    guard let trouble else {
      written &+= records
      return
    }
    dropped &+= records
    droppedUntold &+= records
    guard reactor.now - complainedAt > AuditLog.complaintSeconds else { return }
    complainedAt = reactor.now
    log.line(.error, "audit records are lost: \(trouble)")
  }

  private func sayDropped() {
    guard droppedUntold > 0 else { return }
    var record = AuditRecord("records_dropped")
    record.add("count", droppedUntold)
    droppedUntold = 0
    waiting += record.finished()
    waitingRecords += 1
  }

  /// Opens the file anew, for who rotates it.
  func reopen() { sink.reopen() }

  /// Writes what is left, now, also what the other thread has not. Nothing may be added afterwards.
  func close() {
    alarm.stop()
    sayDropped()
    sink.put(waiting)
    waiting = []
    note(waitingRecords, sink.drain())
  }
}

/// The file or the journal's socket, and what is to be written there. `lock` is held while somebody writes, which
/// the loop does only for the last words of a broker; `shelf` never for long.
private final class AuditSink: @unchecked Sendable {
  private static let journal = "/run/systemd/journal/socket"
  private let destination: AuditSettings.Destination
  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let shelf: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private var descriptor: Int32 = -1
  private var mustReopen = false
  private var lines: [UInt8] = []

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

  /// Whole lines, to be written by the next `drain`.
  func put(_ more: [UInt8]) { holding(shelf) { lines += more } }

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
      let (lines, isStale) = holding(shelf) {
        defer {
          self.lines = []
          mustReopen = false
        }
        return (self.lines, mustReopen)
      }
      if lines.isEmpty, !isStale { return nil }
      if isStale || descriptor < 0, let trouble = open() { return trouble }
      switch destination {
      case .file(let path):
        return writeAll(lines) ? nil : "cannot write to \(path): \(errorText(errno))"
      case .journald:
        for line in lines.split(separator: UInt8(ascii: "\n")) where !tellJournal(line) {
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

  private func writeAll(_ bytes: [UInt8]) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return false }
      done += count
    }
    return true
  }

  /// The journal's own protocol: fields as lines of one datagram.
  private func tellJournal(_ line: ArraySlice<UInt8>) -> Bool {
    var datagram = Array("SYSLOG_IDENTIFIER=virtbrokerd\nPRIORITY=5\nMESSAGE=".utf8)
    datagram += line
    datagram.append(UInt8(ascii: "\n"))
    return datagram.withUnsafeBytes {
      send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    } > 0
  }
}
