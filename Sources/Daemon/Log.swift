// Logging: which lines are wanted and where they go, from configuration, environment and `-v`.
import Broker
@preconcurrency import Glibc
import Logging

/// What is logged, and where to. libvirt's order of precedence: the environment over the file, and
/// `-v` on top, which raises the level to info but lowers nothing.
struct LogPlan: Equatable, Sendable {
  var level = BrokerLog.Level.warning
  var outputs: [LogOutput] = []
  var findings: [Finding] = []

  /// The environment's part in it.
  static let variables = ["LIBVIRT_DEBUG", "LIBVIRT_LOG_OUTPUTS", "LIBVIRT_LOG_FILTERS"]

  init(
    configuration: Configuration, environment: [String: String], isVerbose: Bool,
    otherwise: @autoclosure () -> LogOutput.Destination
  ) throws(StartFailure) {
    if let level = BrokerLog.Level(rawValue: configuration.logLevel) { self.level = level }
    if let wanted = environment["LIBVIRT_DEBUG"] {
      if let level = LogPlan.level(wanted) {
        self.level = level
      } else {
        findings.append(
          Finding(
            weight: .warning,
            text: "LIBVIRT_DEBUG: ignored, expected debug, info, warning, error or 1 to 4, "
              + "found '\(wanted)'"))
      }
    }
    if isVerbose { level = min(level, .info) }
    if environment["LIBVIRT_LOG_FILTERS"] != nil {
      findings.append(
        Finding(weight: .warning, text: "LIBVIRT_LOG_FILTERS: log filters have no effect yet"))
    }
    if let text = environment["LIBVIRT_LOG_OUTPUTS"] {
      do {
        outputs = try LogOutput.read(text)
      } catch {
        throw StartFailure(error.stage, "LIBVIRT_LOG_OUTPUTS: \(error)")
      }
    } else if let text = configuration.logOutputs {
      outputs = try LogOutput.read(text)
    }
    if outputs.isEmpty { outputs = [LogOutput(level, otherwise())] }
    if outputs.contains(where: { $0.destination == .journald }) {
      findings.append(
        Finding(weight: .warning, text: "log output journald: written through syslog for now"))
    }
  }

  private static func level(_ text: String) -> BrokerLog.Level? {
    switch text {
    case "1", "debug": .debug
    case "2", "info": .info
    case "3", "warning": .warning
    case "4", "error": .error
    default: nil
    }
  }
}

/// swift-log's lines in libvirt's form, on our outputs.
struct LibvirtLogHandler: LogHandler {
  let outputs: OpenLogOutputs
  var logLevel = Logger.Level.warning
  var metadata: Logger.Metadata = [:]

  init(_ outputs: OpenLogOutputs) { self.outputs = outputs }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
    let tail = all.map { " \($0.key)=\($0.value)" }.joined()
    outputs.write(BrokerLog.Level(event.level), "\(event.message)\(tail)")
  }
}

extension BrokerLog.Level {
  /// libvirt knows fewer levels: the nearest of them.
  init(_ level: Logger.Level) {
    self =
      switch level {
      case .trace, .debug: .debug
      case .info, .notice: .info
      case .warning: .warning
      case .error, .critical: .error
      }
  }

  var swiftLog: Logger.Level {
    switch self {
    case .debug: .debug
    case .info: .info
    case .warning: .warning
    case .error: .error
    }
  }
}

extension BrokerLog {
  /// The broker's lines, written by `logger` with its level.
  convenience init(_ logger: Logger) {
    self.init(threshold: Level(logger.logLevel)) { level, line in
      logger.log(level: level.swiftLog, "\(line)")
    }
  }
}

extension Logger {
  /// Errors are left out: they end the start, and are told there.
  func log(_ finding: Finding) {
    switch finding.weight {
    case .info: info("\(finding.text)")
    case .warning: warning("\(finding.text)")
    case .error: break
    }
  }
}
