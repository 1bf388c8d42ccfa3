// Where log lines go: libvirt's log_outputs, opened and written.
import Broker
@preconcurrency import Glibc
import Streams

/// One output in the form of the configuration: `N:destination`; N is the lowest level it takes.
struct LogOutput: Equatable, Sendable {
  enum Destination: Equatable, Sendable {
    case stderr
    case file(path: String)
    case syslog(name: String)
    case journald
  }
  let level: BrokerLog.Level
  let destination: Destination

  /// Reads outputs separated by blanks; empty: the default output.
  static func read(_ text: String) throws(StartFailure) -> [LogOutput] {
    var outputs: [LogOutput] = []
    for word in text.split(whereSeparator: \.isWhitespace) {
      guard let output = LogOutput(word) else {
        throw StartFailure(.configuration, .invalidLogOutput, [word])
      }
      outputs.append(output)
    }
    return outputs
  }

  init(_ level: BrokerLog.Level, _ destination: Destination) {
    self.level = level
    self.destination = destination
  }

  private init?(_ word: Substring) {
    let parts = word.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count >= 2, let number = Int(parts[0]),
      let level = BrokerLog.Level(rawValue: number)
    else { return nil }
    switch (parts[1], parts.count > 2 ? String(parts[2]) : nil) {
    case ("stderr", nil): self.init(level, .stderr)
    case ("journald", nil): self.init(level, .journald)
    case ("file", let path?) where !path.isEmpty: self.init(level, .file(path: absolute(path)))
    case ("syslog", let name?) where !name.isEmpty: self.init(level, .syslog(name: name))
    default: return nil
    }
  }
}

extension LogOutput {
  /// The output in the form of the configuration.
  var text: String {
    let place =
      switch destination {
      case .stderr: "stderr"
      case .file(let path): "file:\(path)"
      case .syslog(let name): "syslog:\(name)"
      case .journald: "journald"
      }
    return "\(level.rawValue):\(place)"
  }
}

/// The open outputs. Each takes the lines of its level and above. An output that fails is skipped, since there is no
/// other place to report it.
final class OpenLogOutputs {
  /// How long `flush` waits for the last lines.
  private static let flushSeconds = 2

  private enum Place {
    case writer(SharedLogWriter)
    case journal(JournalSocket)
  }
  /// The outputs that were opened.
  let plan: [LogOutput]
  private let places: [Place]

  /// Standard error alone.
  static var stderr: OpenLogOutputs {
    OpenLogOutputs(
      [LogOutput(.debug, .stderr)],
      [.writer(SharedLogWriter(.descriptor(STDERR_FILENO, isOwned: false)))])
  }

  private init(_ plan: [LogOutput], _ places: [Place]) {
    self.plan = plan
    self.places = places
  }

  /// Opens all of `outputs`, or none of them. The C library has one syslog name per process: of several the last one
  /// counts. An output that cannot be moved away, unlike a regular file, is taken over from `previous` with its queued
  /// lines. `account`: the user that the process is about to become.
  convenience init(
    _ outputs: [LogOutput], journal: String = JournalSocket.usualPath,
    for account: ServiceAccount? = nil, after previous: OpenLogOutputs? = nil
  ) throws(StartFailure) {
    var places: [Place] = []
    for output in outputs {
      if let place = previous?.lasting(output.destination) {
        places.append(place)
      } else {
        places.append(try OpenLogOutputs.open(output, journal, account))
      }
    }
    self.init(outputs, places)
  }

  private func lasting(_ destination: LogOutput.Destination) -> Place? {
    for (output, place) in zip(plan, places) where output.destination == destination {
      if case .writer(let shared) = place, shared.writer.isLasting { return place }
    }
    return nil
  }

  private static func open(
    _ output: LogOutput, _ journal: String, _ account: ServiceAccount?
  ) throws(StartFailure) -> Place {
    switch output.destination {
    case .stderr: return .writer(SharedLogWriter(.descriptor(STDERR_FILENO, isOwned: false)))
    case .file(let path):
      return .writer(SharedLogWriter(.descriptor(try openFile(path, account), isOwned: true)))
    case .syslog(let name):
      // syslog keeps the pointer, so the name is never freed. Each name that is set adds one.
      openlog(strdup(name), 0, LOG_DAEMON)
      return .writer(SharedLogWriter(.syslog))
    case .journald: return .journal(try JournalSocket(at: journal, name: "virtbrokerd"))
    }
  }

  private static func openFile(
    _ path: String, _ account: ServiceAccount?
  ) throws(StartFailure) -> CInt {
    let cause: any CustomStringConvertible
    do throws(BrokerFailure) {
      // With O_NONBLOCK, opening a pipe without a reader fails instead of blocking.
      let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY
      let descriptor = try access(path, for: account) {
        Glibc.open(path, flags | O_NONBLOCK, 0o600)
      }
      guard descriptor < 0 else {
        // No other process shares this open file. From here on writes to it may block, in the writer's thread.
        _ = fcntl(descriptor, F_SETFL, O_APPEND)
        return descriptor
      }
      let text = reason()
      cause = account?.cause(text, at: path) ?? text
    } catch {
      cause = error.message
    }
    throw StartFailure(.configuration, .cannotOpenLogFile, [path, cause])
  }

  /// Gives the opened files to the user that the process is about to become.
  func give(to account: ServiceAccount) { for writer in writers { writer.give(to: account) } }

  /// Starts writing. Until then lines are queued.
  func begin() { for writer in writers { writer.begin() } }

  /// Waits for a limited time until the queued lines are written.
  func flush() {
    var end = timespec()
    clock_gettime(CLOCK_MONOTONIC, &end)
    end.tv_sec += OpenLogOutputs.flushSeconds
    for writer in writers { writer.flush(until: end) }
  }

  private var writers: [LogWriter] {
    places.compactMap { if case .writer(let shared) = $0 { shared.writer } else { nil } }
  }

  /// Whether the lines reach standard error, or the journal that standard error leads to.
  var reachStandardError: Bool {
    plan.contains {
      switch $0.destination {
      case .stderr: true
      case .journald: JournalSocket.isStandardError
      case .file, .syslog: false
      }
    }
  }

  /// Passes a line to every output whose level it reaches. A descriptor gets a whole line in one call, so that lines of
  /// several processes in one file stay whole. Never blocks.
  func write(_ entry: LogEntry) {
    let message = printable(entry.message.line, mostBytes: LogLine.mostMessageBytes)
    for (output, place) in zip(plan, places) where entry.level >= output.level {
      switch place {
      case .writer(let shared):
        shared.writer.add(shared.writer.line(entry.level, message), entry.level)
      case .journal(let socket): socket.write(entry, message)
      }
    }
  }
}

extension BrokerLog.Level {
  /// The word in libvirt's lines.
  var name: String {
    switch self {
    case .debug: "debug"
    case .info: "info"
    case .warning: "warning"
    case .error: "error"
    }
  }

  var syslogPriority: CInt {
    switch self {
    case .debug: LOG_DEBUG
    case .info: LOG_INFO
    case .warning: LOG_WARNING
    case .error: LOG_ERR
    }
  }
}
