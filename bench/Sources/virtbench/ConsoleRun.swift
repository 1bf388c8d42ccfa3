// Keystrokes at a console, alone or with bulk streams.
import ArgumentParser
import Ends
import Foundation
import Gauges

/// Single keystrokes at a fixed rate, and the time to their echoes.
struct ConsoleRun: Codable, Equatable {
  /// The connection on which a download and an upload run meanwhile.
  enum Beside: String, Codable, CaseIterable, ExpressibleByArgument {
    case connection
    case same
  }
  var perSecond = 50.0
  var seconds: Double
  /// nil: no bulk streams.
  var beside: Beside?
  var domain = "bench"
  /// Limits the bytes that the kernel queues in each direction on the console's connection; nil means the kernel's
  /// default.
  var buffers: Int32?

  struct Figure: Codable {
    /// In microseconds, from the scheduled time of a key.
    var echo: Quantiles
    /// Bytes of other packets that this end's kernel had queued when a key was sent.
    var bytesBefore: Sizes
    /// Bytes of other packets that arrived between a key and its echo.
    var bytesBetween: Sizes
    /// The rate of the bulk streams in both directions together; nil if there were none.
    var bulkGiBPerSecond: Double?
  }

  struct Sizes: Codable {
    let p50: UInt64
    let p99: UInt64
    let max: UInt64

    init(_ sizes: Latencies) {
      p50 = sizes.value(at: 0.5)
      p99 = sizes.value(at: 0.99)
      max = sizes.value(at: 1)
    }
  }

  func measure(_ place: Place) throws -> Figure {
    let client = try Client(to: place, buffers: buffers)
    let typing = Typing(perSecond: perSecond, seconds: seconds, domain: domain)
    // Warm up: the first keys find a sleeping guest and cold caches.
    try client.type(Typing(perSecond: 100, seconds: 0.1, domain: domain)) { _ in }
    let sign = StopSign()
    var crowd: Worker<UInt64>?
    if beside == .connection {
      let other = Handed(try Client(to: place))
      crowd = try Worker {
        let bytes = try other.value.saturate(until: sign)
        try other.value.close()
        return bytes
      }
      // Buffers fill and windows open before the measurement.
      usleep(300_000)
    }
    var (times, before, between) = (Latencies(), Latencies(), Latencies())
    let start = now()
    var bulk: UInt64
    do {
      bulk = try client.type(typing, isBusy: beside == .same) {
        times.add($0.nanoseconds)
        before.add($0.bytesBefore)
        between.add($0.bytesBetween)
      }
    } catch {
      sign.raise()
      throw error
    }
    sign.raise()
    bulk += try crowd?.value() ?? 0
    let elapsed = Double(now() - start) / 1e9
    try client.close()
    return Figure(
      echo: Quantiles(times), bytesBefore: Sizes(before), bytesBetween: Sizes(between),
      bulkGiBPerSecond: beside == nil ? nil : Double(bulk) / Double(1 << 30) / elapsed)
  }
}
