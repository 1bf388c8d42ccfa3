// Logging: which lines are written and where, from the configuration, the environment and `-v`.
import Broker
@preconcurrency import Glibc
import Streams

/// What is logged, and where. libvirt's order of precedence: the environment over the file, and `-v` on top, which
/// makes the log at least as detailed as info.
struct LogPlan: Equatable, Sendable {
  var level = BrokerLog.Level.warning
  var filters: [LogFilter] = []
  var outputs: [LogOutput] = []
  var diagnostics: [Diagnostic] = []

  /// The environment variables that contribute to it.
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
        diagnostics.append(Diagnostic(.invalidDebugLevel, [wanted]))
      }
    }
    if isVerbose { level = min(level, .info) }
    filters = try LogPlan.chosen(
      environment, "LIBVIRT_LOG_FILTERS", configuration.logFilters, LogFilter.read)
    outputs = try LogPlan.chosen(
      environment, "LIBVIRT_LOG_OUTPUTS", configuration.logOutputs, LogOutput.read)
    if outputs.isEmpty { outputs = [LogOutput(level, otherwise())] }
  }

  /// The value of the environment variable, else that of the file's key, else empty.
  private static func chosen<Part>(
    _ environment: [String: String], _ variable: String, _ key: String?,
    _ read: (String) throws(StartFailure) -> [Part]
  ) throws(StartFailure) -> [Part] {
    guard let text = environment[variable] else { return try read(key ?? "") }
    do {
      return try read(text)
    } catch {
      throw StartFailure(error.stage, error.messages.map { $0.prefixed("\(variable): ") })
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

/// The daemon's log: level, filters and outputs, all of which can change at run time.
///
/// There is one, and every part of the program writes to it through a `BrokerLog` of its own.
final class LogBook {
  private(set) var level = BrokerLog.Level.debug
  private(set) var filters: [LogFilter] = []
  /// The output when no setting names one.
  private var usualOutput = LogOutput(.debug, .stderr)
  private let place: Place
  private let sink: LogSink
  private var hasBegun = false

  /// The outputs, in an object of their own so that the sink refers to nothing else.
  private final class Place {
    var outputs = OpenLogOutputs.stderr
  }

  /// Writes everything to standard error, until the configuration is known.
  init() {
    let place = Place()
    self.place = place
    sink = LogSink(threshold: .debug) { place.outputs.write($0) }
  }

  private(set) var outputs: OpenLogOutputs {
    get { place.outputs }
    set {
      place.outputs = newValue
      if hasBegun { newValue.begin() }
    }
  }

  /// Starts writing; until then lines are queued. Call it only once the process has its final rights.
  func begin() {
    hasBegun = true
    outputs.begin()
  }

  /// Waits for a limited time until all lines are written. For the end of the process.
  func flush() {
    sink.reportLeftOut(all: true)
    outputs.flush()
  }

  /// The log of one part of the program.
  subscript(source: BrokerLog.Source) -> BrokerLog { BrokerLog(sink, source) }

  /// Adopts `plan`. If an output cannot be opened, everything stays as it was. `account`: the user that the process is
  /// about to become.
  func follow(
    _ plan: LogPlan, usual: LogOutput.Destination, for account: ServiceAccount? = nil
  ) throws(StartFailure) {
    outputs = try OpenLogOutputs(plan.outputs, for: account, after: outputs)
    level = plan.level
    filters = plan.filters
    usualOutput = LogOutput(plan.level, usual)
    listen()
  }

  /// Opens the current outputs again: their files may have been moved away.
  func reopen() throws(StartFailure) { outputs = try OpenLogOutputs(outputs.plan, after: outputs) }

  private func listen() {
    sink.setThresholds { [level, filters] source in
      // The first filter that matches decides, as in libvirt.
      filters.first { $0.fits(source.name) }?.level ?? level
    }
  }

  // MARK: Changes at run time

  /// The control of the log for administrators.
  var steering: LogSteering {
    LogSteering(
      outputs: { [self] in (outputsText, outputs.plan.count) },
      filters: { [self] in (filtersText, filters.count) },
      setOutputs: { [self] in setOutputs($0) }, setFilters: { [self] in setFilters($0) })
  }

  /// The filters in libvirt's form, separated by blanks; empty: there are none.
  var filtersText: String { filters.map(\.text).joined(separator: " ") }
  var outputsText: String { outputs.plan.map(\.text).joined(separator: " ") }

  /// Sets new filters; nil or empty: none. Returns nil, or what was wrong with them; the old ones then stay.
  func setFilters(_ text: String?) -> BrokerFailure? {
    do throws(StartFailure) {
      filters = try LogFilter.read(text ?? "")
    } catch {
      return BrokerFailure(Message(joining: error.messages))
    }
    listen()
    return nil
  }

  /// Sets new outputs; nil or empty: the default output. Returns nil, or what was wrong with them; the old ones then
  /// stay.
  func setOutputs(_ text: String?) -> BrokerFailure? {
    do throws(StartFailure) {
      var wanted = try LogOutput.read(text ?? "")
      if wanted.isEmpty { wanted = [usualOutput] }
      outputs = try OpenLogOutputs(wanted, after: outputs)
    } catch {
      return BrokerFailure(Message(joining: error.messages))
    }
    return nil
  }
}

extension BrokerLog {
  /// Does not write errors: they end the start, which reports them.
  func report(_ diagnostic: Diagnostic) {
    if diagnostic.severity < .error { write(diagnostic.message) }
  }
}
