// Where the broker's log lines go. The daemon decides; the broker only knows which are wanted.
import Glibc
public import Streams

/// One line, and where in the program it was said.
public struct LogEntry: Sendable {
  public let level: BrokerLog.Level
  public let source: BrokerLog.Source
  public let message: Message
  public let file: StaticString
  public let line: UInt
  public let function: StaticString
  /// The client it is about, where it is about one: its number, and whose it is as far as that is verified.
  public let client: UInt64?
  public let identity: String?
}

/// The client that a line is about.
public final class LogClient {
  public let id: UInt64
  public internal(set) var identity: String?

  public init(id: UInt64, identity: String? = nil) {
    self.id = id
    self.identity = identity
  }
}

/// Takes the lines of every part of the program, each part from its own lowest level on. All on the
/// loop's thread.
public final class LogSink {
  /// By the number of the source.
  fileprivate var thresholds: [BrokerLog.Level]
  private let write: (LogEntry) -> Void
  private var limit = LogLimit()
  /// Called when lines begin to be left out: `reportLeftOut` is due after the seconds of a window.
  var leftOut: (() -> Void)?

  public init(threshold: BrokerLog.Level, write: @escaping (LogEntry) -> Void) {
    thresholds = Array(repeating: threshold, count: BrokerLog.Source.allCases.count)
    self.write = write
  }

  /// Seconds on a clock that only moves forward.
  private static var now: Double { Clock.monotonic.seconds }

  /// Writes a line unless there have been too many like it. Only one that is written is built.
  fileprivate func write(_ spot: LogLimit.Spot, isLimited: Bool, _ entry: () -> LogEntry) {
    guard isLimited else { return write(entry()) }
    let now = LogSink.now
    if limit.isReportDue(at: now) { reportLeftOut(all: false) }
    switch limit.admit(spot, at: now) {
    case .first:
      let made = entry()
      limit.keep(made, as: spot)
      write(made)
    case .further: write(entry())
    case .leftOut(let isNews): if isNews { leftOut?() }
    }
  }

  /// Says how many lines were left out: those of windows that are over, or all.
  public func reportLeftOut(all: Bool) {
    for (entry, count) in limit.takeReports(at: all ? .infinity : LogSink.now) {
      let message = Message(
        .logLinesLeftOut, [counted(count, "log line"), entry.message.shortened(to: 200)])
      write(
        LogEntry(
          level: entry.level, source: entry.source, message: message, file: entry.file,
          line: entry.line, function: entry.function, client: entry.client,
          identity: entry.identity))
    }
    if limit.hasReports { leftOut?() }
  }

  /// From now on each source is heard from the level on that `level` says.
  public func setThresholds(_ level: (BrokerLog.Source) -> BrokerLog.Level) {
    thresholds = BrokerLog.Source.allCases.map(level)
  }
}

/// What one part of the program says its lines to. Messages below its threshold are never built.
public struct BrokerLog {
  public typealias Level = Severity

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

  let sink: LogSink
  private let source: Source
  private let client: LogClient?

  public init(_ sink: LogSink, _ source: Source = .server, client: LogClient? = nil) {
    self.sink = sink
    self.source = source
    self.client = client
  }

  /// A log by itself, with one threshold for everything.
  public init(threshold: Level, write: @escaping (Level, String) -> Void) {
    self.init(LogSink(threshold: threshold) { write($0.level, $0.message.line) })
  }

  /// The same log for another part of the program.
  public subscript(source: Source) -> BrokerLog { BrokerLog(sink, source, client: client) }

  /// The same log for lines about one client.
  public func about(_ client: LogClient) -> BrokerLog { BrokerLog(sink, source, client: client) }

  /// Whether lines of that level are wanted here.
  public func takes(_ level: Level) -> Bool { sink.thresholds[source.rawValue] <= level }

  /// Writes a line of a report that an administrator requested. It is exempt from the limit on repeats.
  public func answer(
    _ message: Message, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    guard takes(message.severity) else { return }
    write(message.severity, { message }, file, line, function, isLimited: false)
  }

  /// Writes a message with its definition's severity, or at `level`. The arguments are evaluated only where a line of
  /// that level is wanted.
  public func write(
    _ definition: MessageDefinition,
    _ arguments: @autoclosure () -> [any CustomStringConvertible] = [], at level: Level? = nil,
    file: StaticString = #fileID, line: UInt = #line, function: StaticString = #function
  ) {
    let level = level ?? definition.severity
    guard takes(level) else { return }
    write(level, { Message(definition, arguments()) }, file, line, function, isLimited: true)
  }

  /// Writes a message that was made before, with its severity or at `level`.
  public func write(
    _ message: Message, at level: Level? = nil, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    let level = level ?? message.severity
    guard takes(level) else { return }
    write(level, { message }, file, line, function, isLimited: true)
  }

  private func write(
    _ level: Level, _ message: () -> Message, _ file: StaticString, _ line: UInt,
    _ function: StaticString, isLimited: Bool
  ) {
    // Who has set the level to debug wants everything.
    let isLimited = isLimited && level > .debug
    sink.write(LogLimit.Spot(file, line, client: client?.id), isLimited: isLimited) {
      LogEntry(
        level: level, source: source, message: message(), file: file, line: line,
        function: function, client: client?.id, identity: client?.identity)
    }
  }
}
