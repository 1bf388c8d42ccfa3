// Where log lines go: libvirt's log_outputs, opened and written.
import Broker
@preconcurrency import Glibc

/// One output as it is written in the configuration: `N:destination`, N the lowest level it takes.
struct LogOutput: Equatable, Sendable {
  enum Destination: Equatable, Sendable {
    case stderr
    case file(path: String)
    case syslog(name: String)
    /// Reached through syslog, which the journal reads too.
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
    case ("file", let path?) where !path.isEmpty: self.init(level, .file(path: path))
    case ("syslog", let name?) where !name.isEmpty: self.init(level, .syslog(name: name))
    default: return nil
    }
  }
}

/// The outputs, open. Each takes the lines of its level and above; one that fails is passed over,
/// since there is nowhere left to complain to.
final class OpenLogOutputs: Sendable {
  private enum Place {
    case descriptor(CInt, isOwned: Bool)
    case syslog
  }
  private let places: [(level: BrokerLog.Level, place: Place)]

  /// Standard error alone: where lines go before the configuration is known.
  static let stderr = OpenLogOutputs(places: [(.debug, .descriptor(STDERR_FILENO, isOwned: false))])

  private init(places: [(level: BrokerLog.Level, place: Place)]) { self.places = places }

  /// Opens all of `outputs`, or closes again what was opened. The C library knows one syslog name
  /// per process: of several the last one counts.
  convenience init(_ outputs: [LogOutput]) throws(StartFailure) {
    var places: [(level: BrokerLog.Level, place: Place)] = []
    for output in outputs {
      switch output.destination {
      case .stderr: places.append((output.level, .descriptor(STDERR_FILENO, isOwned: false)))
      case .file(let path):
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0o600)
        guard descriptor >= 0 else {
          let why = reason()
          OpenLogOutputs.close(places.map(\.place))
          throw StartFailure(.configuration, "cannot open the log file \(path): \(why)")
        }
        places.append((output.level, .descriptor(descriptor, isOwned: true)))
      case .syslog(let name):
        // syslog keeps the pointer, so the name is never freed; there are as many as in the file.
        openlog(strdup(name), 0, LOG_DAEMON)
        places.append((output.level, .syslog))
      case .journald:
        openlog(strdup("virtbrokerd"), 0, LOG_DAEMON)
        places.append((output.level, .syslog))
      }
    }
    self.init(places: places)
  }

  deinit { OpenLogOutputs.close(places.map(\.place)) }

  private static func close(_ places: [Place]) {
    for case .descriptor(let descriptor, isOwned: true) in places { Glibc.close(descriptor) }
  }

  /// Writes `message` everywhere it is wanted. Descriptors get a whole line in one call, so that
  /// lines of several processes in one file stay whole; syslog adds time and process by itself.
  func write(_ level: BrokerLog.Level, _ message: String) {
    let message = printable(message)
    var line: String?
    for (lowest, place) in places where level >= lowest {
      switch place {
      case .descriptor(let descriptor, _):
        let text = line ?? LogLine.text(level, message)
        line = text
        LogLine.write(text, to: descriptor)
      case .syslog:
        message.withCString { text in
          withVaList([text]) { vsyslog(level.syslogPriority, "%s", $0) }
        }
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

  fileprivate var syslogPriority: CInt {
    switch self {
    case .debug: LOG_DEBUG
    case .info: LOG_INFO
    case .warning: LOG_WARNING
    case .error: LOG_ERR
    }
  }
}
