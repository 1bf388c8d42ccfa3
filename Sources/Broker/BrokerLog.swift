// The broker's log. The daemon writes the lines; the broker only filters them by level.
import Glibc
public import Streams

/// One line, and the place in the program that logs it.
public struct LogEntry: Sendable {
  public let level: BrokerLog.Level
  public let source: BrokerLog.Source
  public let message: Message
  public let file: StaticString
  public let line: UInt
  public let function: StaticString
  /// The number of the client that the line is about, if any, and its identity as far as it is verified.
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

/// Receives the lines of all parts of the program and filters each part by its own level. Used only on the loop's
/// thread.
public final class LogSink {
  /// By the number of the source.
  fileprivate var thresholds: [BrokerLog.Level]
  private let write: (LogEntry) -> Void
  private var limit = LogLimit()
  /// Called when lines begin to be suppressed: `reportLeftOut` is due after one window.
  var leftOut: (() -> Void)?

  public init(threshold: BrokerLog.Level, write: @escaping (LogEntry) -> Void) {
    thresholds = Array(repeating: threshold, count: BrokerLog.Source.allCases.count)
    self.write = write
  }

  /// Seconds on the monotonic clock.
  private static var now: Double { Clock.monotonic.seconds }

  /// Writes a line unless too many like it were written. Only a line that is written is built.
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

  /// Reports how many lines were suppressed: those of windows that are over, or all.
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

  /// Sets the level of each source to the result of `level`.
  public func setThresholds(_ level: (BrokerLog.Source) -> BrokerLog.Level) {
    thresholds = BrokerLog.Source.allCases.map(level)
  }
}

/// The log of one part of the program. Messages below its level are never built.
public struct BrokerLog {
  public typealias Level = Severity

  /// The parts of the program, by the names that log filters match. If libvirt has such a part, the broker uses its
  /// name, so that filters written for virtproxyd still work.
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

  /// A log of its own, with one level for everything.
  public init(threshold: Level, write: @escaping (Level, String) -> Void) {
    self.init(LogSink(threshold: threshold) { write($0.level, $0.message.line) })
  }

  /// The same log for another part of the program.
  public subscript(source: Source) -> BrokerLog { BrokerLog(sink, source, client: client) }

  /// The same log for lines about one client.
  public func about(_ client: LogClient) -> BrokerLog { BrokerLog(sink, source, client: client) }

  /// Whether lines of that level are written here.
  public func takes(_ level: Level) -> Bool { sink.thresholds[source.rawValue] <= level }

  /// Writes a line of a report that an administrator has requested. It is exempt from the limit on repeats.
  public func answer(
    _ message: Message, file: StaticString = #fileID, line: UInt = #line,
    function: StaticString = #function
  ) {
    guard takes(message.severity) else { return }
    write(message.severity, { message }, file, line, function, isLimited: false)
  }

  /// Writes a message with its definition's severity, or at `level`. The arguments are evaluated only if lines of that
  /// level are written.
  public func write(
    _ definition: MessageDefinition,
    _ arguments: @autoclosure () -> [any CustomStringConvertible] = [], at level: Level? = nil,
    file: StaticString = #fileID, line: UInt = #line, function: StaticString = #function
  ) {
    let level = level ?? definition.severity
    guard takes(level) else { return }
    write(level, { Message(definition, arguments()) }, file, line, function, isLimited: true)
  }

  /// Writes a message that already exists, with its severity or at `level`.
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
    // At level debug the administrator wants all lines.
    let isLimited = isLimited && level > .debug
    sink.write(LogLimit.Spot(file, line, client: client?.id), isLimited: isLimited) {
      LogEntry(
        level: level, source: source, message: message(), file: file, line: line,
        function: function, client: client?.id, identity: client?.identity)
    }
  }
}
