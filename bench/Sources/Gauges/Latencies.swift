// Latencies of many calls in little memory.
import Histogram

/// An HDR histogram of durations in nanoseconds, exact to three digits. Adding a value does not allocate.
public struct Latencies: Sendable {
  /// Longer values count as this one: more than an hour and a quarter.
  public static let longest: UInt64 = 1 << 42
  private var histogram = Histogram<UInt64>(highestTrackableValue: longest)

  public init() {}

  public var count: UInt64 { histogram.totalCount }

  public mutating func add(_ nanoseconds: UInt64) {
    histogram.record(min(nanoseconds, Self.longest))
  }

  public mutating func add(_ other: Latencies) { histogram.add(other.histogram) }

  /// The smallest value that the fraction `quantile` of all values does not exceed; 0 if there are none.
  public func value(at quantile: Double) -> UInt64 { histogram.valueAtPercentile(quantile * 100) }
}

/// The reported quantiles, in microseconds.
public struct Quantiles: Sendable, Codable, Equatable {
  public let count: UInt64
  public let p50: Double
  public let p90: Double
  public let p99: Double
  public let p999: Double
  public let max: Double

  public init(_ latencies: Latencies) {
    func at(_ quantile: Double) -> Double { Double(latencies.value(at: quantile)) / 1e3 }
    count = latencies.count
    p50 = at(0.5)
    p90 = at(0.9)
    p99 = at(0.99)
    p999 = at(0.999)
    max = at(1)
  }
}
