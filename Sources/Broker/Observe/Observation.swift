// What the broker records about itself and its clients.
import Streams

/// Counters, the audit, the metrics servers, and the report of suppressed log lines. Counters and the audit work from
/// the start, the rest while the loop runs.
final class Observation {
  let counts = BrokerCounts()
  /// Nil: no audit is configured.
  let audit: AuditLog?
  private var metricsServers: [MetricsServer] = []
  private let lagWatch: LagWatch
  private let log: BrokerLog
  private let reactor: Reactor
  /// Fires when the count of suppressed log lines is due in the log.
  private lazy var logAlarm = Alarm(on: reactor) { [unowned self] in
    log.sink.reportLeftOut(all: false)
  }

  /// - Throws: why the audit cannot be written.
  init(_ settings: BrokerSettings, loop: LoopServices, log: BrokerLog) throws(BrokerFailure) {
    self.log = log
    reactor = loop.reactor
    lagWatch = LagWatch(counts.lag, on: loop.reactor)
    audit = try AuditLog(
      settings.audit, on: loop.reactor, loop.blocking, log: log[.audit], for: settings.account)
  }

  /// Binds the sockets that serve metrics.
  /// - Throws: `BrokerFailure` naming the setting and the reason.
  func openMetrics(
    _ address: ListenerSettings.Address, of broker: Broker
  ) throws(BrokerFailure) {
    do throws(BrokerFailure) {
      metricsServers = try MetricsServer.open(address, broker: broker)
    } catch {
      throw BrokerFailure(.metricsListenFailed, [error.message])
    }
  }

  var servesMetrics: Bool { !metricsServers.isEmpty }
  /// The addresses that serve metrics, with the ports that the kernel chose.
  var metricsNames: [String] { metricsServers.map(\.name) }

  /// The loop is about to run.
  func start() {
    for name in metricsNames { log.write(.servingMetrics, [name]) }
    if servesMetrics { lagWatch.start() }
    log.sink.leftOut = { [unowned self] in logAlarm.start(seconds: LogLimit.windowSeconds) }
  }

  /// The loop has ended: stops what runs on it. Records may still be added to the audit.
  func stop() {
    log.sink.leftOut = nil
    logAlarm.stop()
    lagWatch.stop()
    metricsServers = []
  }
}
