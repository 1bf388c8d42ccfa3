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
  /// A record is written at the end of its turn, unless others were less than this before: many of them are to cost
  /// one write and one look of the other thread.
  private static let collectSeconds = 0.05
  private static let complaintSeconds = 60.0
  /// How long a broker that ends waits for its last records to be taken.
  private static let lastSeconds = 2

  private let keepsChanges: Bool
  private let keepsDisclosures: Bool
  private let keepsReads: Bool
  private let reactor: Reactor
  private let log: BrokerLog
  private let sink: AuditSink
  private let pool: BlockingPool
  private lazy var alarm = Alarm(on: reactor) { [unowned self] in flush() }
  private var beginning = AuditBeginning()
  private var waiting = AuditText()
  private var waitingRecords: UInt64 = 0
  /// Bytes that the other thread is writing.
  private var underWay = 0
  private var isCollecting = false
  private var flushedAt = -Double.infinity
  private var droppedUntold: UInt64 = 0
  private var complainedAt = -Double.infinity
  private(set) var written: UInt64 = 0
  private(set) var dropped: UInt64 = 0

  /// - Throws: why the destination cannot be written to.
  init?(
    _ settings: AuditSettings, on reactor: Reactor, _ pool: BlockingPool, log: BrokerLog,
    for account: ServiceAccount?
  ) throws(BrokerFailure) {
    guard let destination = settings.destination else { return nil }
    keepsChanges = settings.calls.contains(.change)
    keepsDisclosures = settings.calls.contains(.disclose)
    keepsReads = settings.calls.contains(.read)
    self.reactor = reactor
    self.log = log
    sink = try AuditSink(destination, for: account)
    self.pool = pool
  }

  /// Calls that do this are recorded.
  func keeps(_ access: Access) -> Bool {
    switch access {
    case .change: keepsChanges
    case .disclose: keepsDisclosures
    case .read: keepsReads
    }
  }

  /// Adds a record of what happened, with the fields that `describe` gives it.
  func add(_ event: StaticString, _ describe: (inout AuditText) -> Void) {
    let before = waiting.count
    write(event, describe)
    guard waiting.count + underWay <= AuditLog.most else {
      waiting.cut(to: before)
      waitingRecords -= 1
      dropped &+= 1
      droppedUntold &+= 1
      return
    }
    if underWay == 0 { flushInTime() }
  }

  private func flushInTime() {
    if waiting.count >= AuditLog.many {
      if isCollecting { alarm.stop() }
      flush()
    } else if !isCollecting {
      isCollecting = true
      alarm.start(seconds: max(0, flushedAt + AuditLog.collectSeconds - reactor.now))
    }
  }

  private func write(_ event: StaticString, _ describe: (inout AuditText) -> Void) {
    beginning.renew(in: reactor.turn)
    waiting.add(beginning.bytes)
    waiting.raw(event)
    waiting.raw("\"")
    describe(&waiting)
    waiting.raw("}\n")
    waitingRecords += 1
  }

  private func flush() {
    isCollecting = false
    guard underWay == 0, !waiting.isEmpty else { return }
    flushedAt = reactor.now
    sayDropped()
    let (records, sink) = (waitingRecords, sink)
    underWay = waiting.count
    sink.put(&waiting)
    waitingRecords = 0
    pool.run(
      .audit, { sink.drain() }, tell: { [weak self] outcome in self?.wrote(records, outcome) })
  }

  private func wrote(_ records: UInt64, _ outcome: AuditSink.Outcome) {
    underWay = 0
    note(records, outcome)
    if !waiting.isEmpty { flushInTime() }
  }

  private func note(_ records: UInt64, _ outcome: AuditSink.Outcome) {
    if let kept = outcome.kept {
      log.line(.error, "\(kept): records are still written to the file that was open before")
    }
    guard let trouble = outcome.lost else {
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
    let count = droppedUntold
    droppedUntold = 0
    write("records_dropped") { $0.add("count", count) }
  }

  /// Opens the file anew, for who rotates it.
  func reopen() { sink.reopen() }

  /// Writes what is left, now, also what the other thread has not. Nothing may be added afterwards.
  func close() {
    alarm.stop()
    sayDropped()
    sink.put(&waiting)
    note(waitingRecords, sink.drain(within: AuditLog.lastSeconds))
  }
}
