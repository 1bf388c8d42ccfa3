// Writing log lines to targets that may block, without waiting for them: a pipe that is not read, a slow disk, syslog.
import Broker
@preconcurrency import Glibc
import Streams

/// A queue of lines for one descriptor or for syslog. The queue is bounded, and a thread writes its lines: other
/// processes may share the descriptor, so it cannot be made non-blocking.
final class LogWriter: @unchecked Sendable {
  enum Target {
    case descriptor(CInt, isOwned: Bool)
    case syslog
  }

  /// Limit of the queued lines in bytes, without those that are being written.
  static let mostWaitingBytes = 1 << 20

  private struct Line {
    let text: String
    let level: BrokerLog.Level
  }

  private let target: Target
  private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
  private let change: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
  private var lines: [Line] = []
  private var bytes = 0
  private var lost: UInt64 = 0
  private var isWriting = false
  private var isClosed = false
  /// False until the process has its final rights: a thread would keep the old ones.
  private var mayHaveThread = false
  private var hasThread = false

  init(_ target: Target) {
    self.target = target
    pthread_mutex_init(lock, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(change, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    if case .descriptor(let descriptor, isOwned: true) = target { Glibc.close(descriptor) }
    pthread_cond_destroy(change)
    pthread_mutex_destroy(lock)
    change.deallocate()
    lock.deallocate()
  }

  private func locked<Result>(_ body: () -> Result) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return body()
  }

  // MARK: Called on the loop's thread

  /// Queues a line. A line that exceeds the limit is only counted.
  func add(_ text: String, _ level: BrokerLog.Level) {
    let needsThread = locked {
      guard bytes + text.utf8.count <= LogWriter.mostWaitingBytes else {
        lost &+= 1
        return false
      }
      lines.append(Line(text: text, level: level))
      bytes += text.utf8.count
      pthread_cond_broadcast(change)
      return mayHaveThread && !hasThread
    }
    if needsThread { startThread() }
  }

  /// Starts writing. Lines that were added before are queued until then.
  func begin() {
    let needsThread = locked {
      mayHaveThread = true
      return !lines.isEmpty && !hasThread
    }
    if needsThread { startThread() }
  }

  /// Waits until everything is written, or until `end` on the monotonic clock.
  func flush(until end: timespec) {
    begin()
    var end = end
    locked {
      while hasThread, isWriting || !lines.isEmpty {
        if pthread_cond_timedwait(change, lock, &end) == ETIMEDOUT { return }
      }
    }
  }

  /// The caller adds no more lines. The thread writes the queued lines and ends.
  func close() {
    begin()
    locked {
      isClosed = true
      pthread_cond_broadcast(change)
    }
  }

  // MARK: The thread

  private func startThread() {
    // The loop handles the signals.
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let held = Unmanaged.passRetained(self)
    hasThread = true
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { data in
        if let data { Unmanaged<LogWriter>.fromOpaque(data).takeRetainedValue().serve() }
        return nil
      }, held.toOpaque())
    guard status == 0 else {
      // The next line tries again.
      hasThread = false
      return held.release()
    }
    pthread_detach(thread)
  }

  private func serve() {
    while let (batch, lost) = next() {
      if lost > 0 {
        let message = Message(.logLinesLost, [counted(lost, "log line")])
        write(Line(text: line(message.severity, message.line), level: message.severity))
      }
      for line in batch { write(line) }
      locked {
        isWriting = false
        pthread_cond_broadcast(change)
      }
    }
  }

  /// Waits for the next lines to write; nil: the queue has ended.
  private func next() -> ([Line], UInt64)? {
    locked {
      while lines.isEmpty {
        if isClosed { return nil }
        pthread_cond_wait(change, lock)
      }
      defer {
        lines = []
        bytes = 0
        lost = 0
        isWriting = true
      }
      return (lines, lost)
    }
  }

  /// A line in the target's form: syslog adds time and process itself.
  func line(_ level: BrokerLog.Level, _ message: String) -> String {
    switch target {
    case .descriptor: LogLine.text(level, message)
    case .syslog: message
    }
  }

  private func write(_ line: Line) {
    switch target {
    case .descriptor(let descriptor, _):
      guard !LogLine.write(line.text, to: descriptor) else { return }
      locked { lost &+= 1 }
    case .syslog:
      line.text.withCString { text in
        withVaList([text]) { vsyslog(line.level.syslogPriority, "%s", $0) }
      }
    }
  }

  /// Whether the target cannot have been moved away: it is not a regular file that this process has opened.
  var isLasting: Bool {
    guard case .descriptor(let descriptor, isOwned: true) = target else { return true }
    var status = stat()
    return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
  }

  /// Gives the file to the user that the process is about to become.
  func give(to account: ServiceAccount) {
    if case .descriptor(let descriptor, isOwned: true) = target {
      giveFile(descriptor, to: account)
    }
  }
}

/// Owns a writer while a set of outputs uses it. Afterwards the writer's thread writes the remaining lines and ends.
final class SharedLogWriter {
  let writer: LogWriter

  init(_ target: LogWriter.Target) { writer = LogWriter(target) }

  deinit { writer.close() }
}
