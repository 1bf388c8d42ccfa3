// Events that a daemon sends to many clients.
import Ends
import Foundation
import Gauges

/// Lifecycle events of the synthetic daemon, each sent to all listeners.
struct EventsRun: Codable, Equatable {
  /// Connections that have registered for the events.
  var listeners: Int
  /// Events per second; each listener gets all of them.
  var perSecond: Double
  var seconds: Double

  struct Figure: Codable {
    /// Events that arrived, per second, at all listeners together.
    var delivered: Double
    /// From the moment at which an event was due to its arrival, in microseconds.
    var delay: Quantiles
    /// Processor microseconds of the relay's process per delivered event; nil without a process.
    var cpuPerEvent: Double?
  }

  /// The synthetic daemon must run on this machine, because its clock times the events.
  func measure(_ place: Place, process: pid_t?) throws -> Figure {
    let listeners = try Listeners(listeners, at: place, perSecond: perSecond) {
      ConnectionsRun.source(place, $0)
    }
    // Warm up: the events that were due while listeners were still registering arrive in a burst.
    try listeners.receive(seconds: 0.2) { _ in }
    let clock = try process.map(processorClock)
    let start = now()
    var delays = Latencies()
    var count: UInt64 = 0
    try listeners.receive(seconds: seconds) {
      delays.add($0)
      count += 1
    }
    let elapsed = Double(now() - start) / 1e9
    let used = try zip(process, clock).map { try processorClock($0).since($1) }
    try listeners.close()
    return Figure(
      delivered: Double(count) / elapsed, delay: Quantiles(delays),
      cpuPerEvent: count > 0 ? used.map { $0 * 1e6 / Double(count) } : nil)
  }
}
