// Histograms of durations.

/// Histograms of durations, all with the same buckets. They lie in flat memory: an array in a structure would cost two
/// indirections and a bounds check per duration.
public final class Histograms {
  /// Upper bounds of the buckets, in seconds. Longer durations have a bucket of their own. Most durations fall into the
  /// first buckets, so the linear search is short.
  public static let bounds = [
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30,
  ]

  private let bounds: UnsafeMutableBufferPointer<Double>
  private let buckets: UnsafeMutableBufferPointer<UInt64>
  private let sums: UnsafeMutableBufferPointer<Double>

  public init(_ count: Int = 1) {
    bounds = .allocate(capacity: Histograms.bounds.count)
    _ = bounds.initialize(fromContentsOf: Histograms.bounds)
    buckets = .allocate(capacity: count * (bounds.count + 1))
    buckets.initialize(repeating: 0)
    sums = .allocate(capacity: count)
    sums.initialize(repeating: 0)
  }

  deinit {
    bounds.deallocate()
    buckets.deallocate()
    sums.deallocate()
  }

  public func note(_ seconds: Double, in histogram: Int = 0) {
    var place = 0
    while place < bounds.count, seconds > bounds[place] { place += 1 }
    buckets[histogram * (bounds.count + 1) + place] &+= 1
    sums[histogram] += seconds
  }

  /// The cumulative counts of one histogram: durations within each of the bounds, then all durations.
  public func cumulative(_ histogram: Int = 0) -> [UInt64] {
    var total: UInt64 = 0
    return (0...bounds.count).map { place in
      total &+= buckets[histogram * (bounds.count + 1) + place]
      return total
    }
  }

  public func sum(_ histogram: Int = 0) -> Double { sums[histogram] }
}
