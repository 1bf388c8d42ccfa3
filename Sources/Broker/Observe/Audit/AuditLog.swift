// The audit log: records in a file or in the journal. The loop collects them and a thread writes them.
import Glibc
import Streams

/// What the audit records, and where.
public struct AuditSettings: Sendable, Equatable {
  public enum Destination: Sendable, Equatable {
    case file(String)
    case journald
  }
  /// Nil: no audit.
  public var destination: Destination?
  /// The classes of calls that are recorded.
  public var calls: Set<AuditClass> = [.change]
  public init() {}
}

/// The class of a call, according to its access permissions.
public enum AuditClass: String, Sendable, CaseIterable {
  /// The call changes something.
  case change
  /// The call discloses the content of a guest or of a volume, or a secret.
  case disclose
  /// The call only reads.
  case read
}

/// The audit. Records stay in memory until another thread has written them. That memory is bounded: a record that does
/// not fit is dropped and counted, and a later record reports the number.
final class AuditLog {
  /// Records are written in turns: those of one turn are collected and then written, while the next ones are queued.
  private enum State {
    /// Nothing is queued.
    case idle
    /// The alarm ends the turn.
    case collecting
    /// Another thread writes this many bytes. New records are queued after them.
    case writing(bytes: Int)

    var bytesUnderWay: Int { if case .writing(let bytes) = self { bytes } else { 0 } }
  }

  /// The classes of calls that are recorded, checked for each call.
  private struct Filter {
    let keepsChanges: Bool
    let keepsDisclosures: Bool
    let keepsReads: Bool

    init(_ classes: Set<AuditClass>) {
      keepsChanges = classes.contains(.change)
      keepsDisclosures = classes.contains(.disclose)
      keepsReads = classes.contains(.read)
    }

    func keeps(_ access: Access) -> Bool {
      switch access {
      case .change: keepsChanges
      case .disclose: keepsDisclosures
      case .read: keepsReads
      }
    }
  }

  /// Counts of what happened to records.
  private struct Counts {
    var written: UInt64 = 0
    var dropped: UInt64 = 0
    /// Dropped records that no record has reported yet.
    var unreported: UInt64 = 0

    mutating func drop(_ count: UInt64) {
      dropped &+= count
      unreported &+= count
    }
  }

  /// Limit of queued bytes.
  private static let most = 1 << 20
  /// Number of queued bytes that are written without collecting more.
  private static let many = 1 << 18
  /// A record is written at the end of its turn, unless another write was less than this before: many records should
  /// cost one write and one wake-up of the other thread.
  private static let collectSeconds = 0.05
  /// Time limit in seconds for writing the last records when the broker ends.
  private static let lastSeconds = 2

  private let filter: Filter
  private let reactor: Reactor
  private let log: BrokerLog
  private let sink: AuditSink
  private let pool: BlockingPool
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in flush() }
  private var beginning = AuditBeginning()
  /// Records that no thread is writing yet, and their number.
  private var queued = AuditText()
  private var queuedRecords: UInt64 = 0
  private var state = State.idle
  private var flushedAt = -Double.infinity
  private var counts = Counts()
  private var lossWarning = WarningInterval()

  var written: UInt64 { counts.written }
  var dropped: UInt64 { counts.dropped }

  /// - Throws: why the destination cannot be written to.
  init?(
    _ settings: AuditSettings, on reactor: Reactor, _ pool: BlockingPool, log: BrokerLog,
    for account: ServiceAccount?
  ) throws(BrokerFailure) {
    guard let destination = settings.destination else { return nil }
    filter = Filter(settings.calls)
    self.reactor = reactor
    self.log = log
    sink = try AuditSink(destination, for: account)
    self.pool = pool
  }

  /// Whether calls with this access are recorded.
  func keeps(_ access: Access) -> Bool { filter.keeps(access) }

  /// Adds a record of an event, with the fields that `describe` adds.
  func add(_ event: StaticString, _ describe: (inout AuditText) -> Void) {
    let before = queued.count
    enqueue(event, describe)
    guard queued.count + state.bytesUnderWay <= AuditLog.most else {
      queued.cut(to: before)
      queuedRecords -= 1
      return counts.drop(1)
    }
    flushInTime()
  }

  /// Writes the queued records: at once if there are many, otherwise when the turn ends.
  private func flushInTime() {
    switch state {
    case .idle where queued.count < AuditLog.many:
      state = .collecting
      alarm.start(seconds: max(0, flushedAt + AuditLog.collectSeconds - reactor.now))
    case .collecting where queued.count < AuditLog.many, .writing: break
    case .idle, .collecting: flush()
    }
  }

  private func enqueue(_ event: StaticString, _ describe: (inout AuditText) -> Void) {
    beginning.renew(in: reactor.turn)
    queued.add(beginning.bytes)
    queued.raw(event)
    queued.raw("\"")
    describe(&queued)
    queued.raw("}\n")
    queuedRecords += 1
  }

  private func flush() {
    alarm.stop()
    flushedAt = reactor.now
    recordDropped()
    let (records, sink) = (queuedRecords, sink)
    state = .writing(bytes: queued.count)
    sink.put(&queued)
    queuedRecords = 0
    pool.run(
      .audit, { sink.drain() }, completion: { [weak self] outcome in self?.wrote(records, outcome) }
    )
  }

  private func wrote(_ records: UInt64, _ outcome: AuditSink.Outcome) {
    state = .idle
    note(records, outcome)
    if !queued.isEmpty { flushInTime() }
  }

  private func note(_ records: UInt64, _ outcome: AuditSink.Outcome) {
    if let kept = outcome.kept {
      log.write(.auditFileKept, [kept])
    }
    guard let cause = outcome.lost else {
      counts.written &+= records
      return
    }
    counts.drop(records)
    guard lossWarning.takeDue(at: reactor.now) else { return }
    log.write(.auditRecordsLost, [cause])
  }

  private func recordDropped() {
    let count = counts.unreported
    guard count > 0 else { return }
    counts.unreported = 0
    enqueue("records_dropped") { $0.add("count", count) }
  }

  /// Opens the file again, after it was rotated.
  func reopen() { sink.reopen() }

  /// Writes the remaining records at once, including those that the other thread has not written. No record may be
  /// added afterwards.
  func close() {
    alarm.stop()
    recordDropped()
    sink.put(&queued)
    note(queuedRecords, sink.drain(within: AuditLog.lastSeconds))
  }
}
