// Where log lines go: libvirt's log_outputs, opened and written.
import Broker
@preconcurrency import Glibc

/// One output as it is written in the configuration: `N:destination`, N the lowest level it takes.
struct LogOutput: Equatable, Sendable {
  enum Destination: Equatable, Sendable {
    case stderr
    case file(path: String)
    case syslog(name: String)
    case journald
  }
  let level: BrokerLog.Level
  let destination: Destination

  /// Reads outputs separated by blanks; none at all means the default one.
  static func read(_ text: String) throws(StartFailure) -> [LogOutput] {
    var outputs: [LogOutput] = []
    for word in text.split(whereSeparator: \.isWhitespace) {
      guard let output = LogOutput(word) else {
        throw StartFailure(
          .configuration,
          "expected a log output as N:stderr, N:file:/path, N:syslog:name or N:journald with N "
            + "from 1 to 4, found '\(word)'")
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
  /// As it is written in the configuration.
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

/// The outputs, open. Each takes the lines of its level and above; one that fails is passed over,
/// since there is nowhere left to complain to.
final class OpenLogOutputs {
  private enum Place {
    case descriptor(CInt, isOwned: Bool)
    case syslog
    case journal(JournalSocket)
  }
  /// What was opened.
  let plan: [LogOutput]
  private let places: [Place]

  /// Standard error alone.
  static var stderr: OpenLogOutputs {
    OpenLogOutputs(
      [LogOutput(.debug, .stderr)], [.descriptor(STDERR_FILENO, isOwned: false)])
  }

  private init(_ plan: [LogOutput], _ places: [Place]) {
    self.plan = plan
    self.places = places
  }

  /// Opens all of `outputs`, or closes again what was opened. The C library knows one syslog name
  /// per process: of several the last one counts.
  convenience init(
    _ outputs: [LogOutput], journal: String = JournalSocket.usualPath
  ) throws(StartFailure) {
    var places: [Place] = []
    do throws(StartFailure) {
      for output in outputs { places.append(try OpenLogOutputs.open(output, journal)) }
    } catch {
      OpenLogOutputs.close(places)
      throw error
    }
    self.init(outputs, places)
  }

  private static func open(_ output: LogOutput, _ journal: String) throws(StartFailure) -> Place {
    switch output.destination {
    case .stderr: return .descriptor(STDERR_FILENO, isOwned: false)
    case .file(let path):
      let descriptor = Glibc.open(
        path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0o600)
      guard descriptor >= 0 else {
        throw StartFailure(.configuration, "cannot open the log file \(path): \(reason())")
      }
      return .descriptor(descriptor, isOwned: true)
    case .syslog(let name):
      // syslog keeps the pointer, so the name is never freed; there are as many as were ever set.
      openlog(strdup(name), 0, LOG_DAEMON)
      return .syslog
    case .journald: return .journal(try JournalSocket(at: journal, name: "virtbrokerd"))
    }
  }

  deinit { OpenLogOutputs.close(places) }

  private static func close(_ places: [Place]) {
    for case .descriptor(let descriptor, isOwned: true) in places { Glibc.close(descriptor) }
  }

  /// Lets the files that were opened belong to a user who is about to be the process's.
  func give(to user: uid_t, _ group: gid_t) {
    for case .descriptor(let descriptor, isOwned: true) in places {
      fchown(descriptor, user, group)
    }
  }

  /// Writes a line everywhere it is wanted. Descriptors get a whole line in one call, so that
  /// lines of several processes in one file stay whole; syslog adds time and process by itself.
  func write(_ entry: LogEntry) {
    let message = printable(entry.message)
    var line: String?
    for (output, place) in zip(plan, places) where entry.level >= output.level {
      switch place {
      case .descriptor(let descriptor, _):
        let text = line ?? LogLine.text(entry.level, message)
        line = text
        LogLine.write(text, to: descriptor)
      case .syslog:
        message.withCString { text in
          withVaList([text]) { vsyslog(entry.level.syslogPriority, "%s", $0) }
        }
      case .journal(let socket): socket.write(entry, message)
      }
    }
  }
}

extension BrokerLog.Level {
  /// The word libvirt's lines have.
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
