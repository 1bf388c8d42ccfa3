// Where the broker's log lines go. The daemon decides; the broker only knows which are wanted.

/// One line, and where in the program it was said.
public struct LogEntry: Sendable {
  public let level: BrokerLog.Level
  public let source: BrokerLog.Source
  public let message: String
  public let file: StaticString
  public let line: UInt
  public let function: StaticString
}

/// Takes the lines of every part of the program, each part from its own lowest level on. All on the
/// loop's thread.
public final class LogSink {
  /// By the number of the source.
  fileprivate var thresholds: [BrokerLog.Level]
  fileprivate let write: (LogEntry) -> Void

  public init(threshold: BrokerLog.Level, write: @escaping (LogEntry) -> Void) {
    thresholds = Array(repeating: threshold, count: BrokerLog.Source.allCases.count)
    self.write = write
  }

  /// From now on each source is heard from the level on that `level` says.
  public func setThresholds(_ level: (BrokerLog.Source) -> BrokerLog.Level) {
    thresholds = BrokerLog.Source.allCases.map(level)
  }
}

/// What one part of the program says its lines to. Messages below its threshold are never built.
public struct BrokerLog {
  /// libvirt's levels, with its numbers.
  public enum Level: Int, Sendable, Comparable {
    case debug = 1
    case info = 2
    case warning = 3
    case error = 4
    public static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }
  }

  /// The parts of the program, by the names that log filters are matched against. Where libvirt has such
  /// a part its name is taken, so that filters written for virtproxyd find what they are meant for.
  public enum Source: Int, Sendable, CaseIterable {
    case daemon, configuration, systemd, server, client, keepAlive, tls, sasl, polkit, names,
      upstream
    case admin, audit

    public var name: String {
      switch self {
      case .daemon: "remote.remote_daemon"
      case .configuration: "remote.remote_daemon_config"
      case .systemd: "util.systemd"
      case .server: "rpc.netserver"
      case .client: "rpc.netserverclient"
      case .keepAlive: "rpc.keepalive"
      case .tls: "rpc.nettlscontext"
      case .sasl: "rpc.netsaslcontext"
      case .polkit: "util.polkit"
      case .names: "util.identity"
      case .upstream: "remote.remote_driver"
      case .admin: "admin.admin_server"
      case .audit: "util.audit"
      }
    }
  }

  private let sink: LogSink
  private let source: Source

  public init(_ sink: LogSink, _ source: Source = .server) {
    self.sink = sink
    self.source = source
  }

  /// A log by itself, with one threshold for everything.
  public init(threshold: Level, write: @escaping (Level, String) -> Void) {
    self.init(LogSink(threshold: threshold) { write($0.level, $0.message) })
  }

  /// The same log for another part of the program.
  public subscript(source: Source) -> BrokerLog { BrokerLog(sink, source) }

  /// Whether lines of that level are wanted here.
  public func takes(_ level: Level) -> Bool { sink.thresholds[source.rawValue] <= level }

  public func debug(
    _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    if takes(.debug) { write(.debug, message(), file, line, function) }
  }

  public func info(
    _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    if takes(.info) { write(.info, message(), file, line, function) }
  }

  public func warning(
    _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    if takes(.warning) { write(.warning, message(), file, line, function) }
  }

  public func error(
    _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    if takes(.error) { write(.error, message(), file, line, function) }
  }

  public func line(
    _ level: Level, _ message: @autoclosure () -> String, file: StaticString = #fileID,
    line: UInt = #line, function: StaticString = #function
  ) {
    if takes(level) { write(level, message(), file, line, function) }
  }

  private func write(
    _ level: Level, _ message: String, _ file: StaticString, _ line: UInt, _ function: StaticString
  ) {
    sink.write(
      LogEntry(
        level: level, source: source, message: message, file: file, line: line, function: function))
  }
}
