// Small calls: a number of concurrent calls, or calls at a rate.
import Ends
import Foundation
import Gauges

/// Repeated small calls.
struct CallRun: Codable, Equatable {
  /// Concurrent calls on each connection, if no rate is given.
  var depth = 1
  var seconds: Double
  var connections = 1
  /// Calls per second on all connections together; nil makes the next call after each reply.
  var rate: Double?

  /// Times are in microseconds; at a rate they count from the scheduled time of a call.
  struct Figure: Codable {
    var perSecond: Double
    var p50: Double
    var p90: Double
    var p99: Double
    var p999: Double
    var max: Double
    var count: UInt64
    /// Processor microseconds of the relay's process; nil without a process.
    var cpuPerCall: Double?
  }

  func measure(_ place: Place, process: pid_t?) throws -> Figure {
    let clients = try (0..<connections).map { _ in Handed(try Client(to: place)) }
    // Warm up: the first calls find cold caches on every way.
    for client in clients {
      try client.value.callRepeatedly(depth: depth, seconds: 0.1 / Double(connections)) { _ in }
    }
    let clock = try process.map(processorClock)
    let start = now()
    let parts = try inParallel(connections) { index in
      var latencies = Latencies()
      if let rate {
        // The connections are staggered, so that not all calls are due at the same time.
        let first = start + UInt64(1e9 / rate * Double(index))
        let schedule = Schedule(from: first, perSecond: rate / Double(connections))
        try clients[index].value.call(at: schedule, seconds: seconds) { latencies.add($0) }
      } else {
        try clients[index].value.callRepeatedly(depth: depth, seconds: seconds) {
          latencies.add($0)
        }
      }
      return latencies
    }
    let elapsed = Double(now() - start) / 1e9
    let used = try zip(process, clock).map { try processorClock($0).since($1) }
    for client in clients { try client.value.close() }
    var latencies = Latencies()
    for part in parts { latencies.add(part) }
    let quantiles = Quantiles(latencies)
    let count = Double(quantiles.count)
    return Figure(
      perSecond: count / elapsed, p50: quantiles.p50, p90: quantiles.p90, p99: quantiles.p99,
      p999: quantiles.p999, max: quantiles.max, count: quantiles.count,
      cpuPerCall: count > 0 ? used.map { $0 * 1e6 / count } : nil)
  }
}
