// Connections that come and go at a rate.
import Ends
import Foundation
import Gauges

/// Connections opened at fixed times, each used for one call and closed.
struct OpeningRun: Codable, Equatable {
  var perSecond: Double
  var seconds: Double
  /// Connections that are opened or closed at the same time, at most: each has a thread.
  var atOnce = 16

  struct Figure: Codable {
    /// The connections that were opened, per second.
    var perSecond: Double
    /// From the moment at which a connection was due to the reply to its first call, in microseconds.
    var opening: Quantiles
    /// Processor microseconds of the process per connection; nil without a process.
    var cpuPerOpening: Double?
  }

  func measure(_ place: Place, process: pid_t?) throws -> Figure {
    // Warm up: what a process allocates once, at its first connections, does not count.
    for _ in 0..<16 { try ConnectionsRun.open(place, 0).value.close() }
    let clock = try process.map(processorClock)
    let start = now()
    let end = start + UInt64(seconds * 1e9)
    let parts = try inParallel(atOnce) { part in
      var latencies = Latencies()
      var number = part
      while case let due = start + UInt64(Double(number) / perSecond * 1e9), due < end, now() < end
      {
        sleep(until: due)
        let client = try ConnectionsRun.open(place, number).value
        latencies.add(now() - due)
        try client.close()
        number += atOnce
      }
      return latencies
    }
    // The last one is due shortly before the end, and does not make the rate a lower one.
    let elapsed = max(Double(now() - start) / 1e9, seconds)
    let used = try zip(process, clock).map { try processorClock($0).since($1) }
    var latencies = Latencies()
    for part in parts { latencies.add(part) }
    let count = Double(latencies.count)
    return Figure(
      perSecond: count / elapsed, opening: Quantiles(latencies),
      cpuPerOpening: count > 0 ? used.map { $0 * 1e6 / count } : nil)
  }
}
