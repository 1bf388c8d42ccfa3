// Times of many calls, kept in little room.

/// Counts durations in buckets whose width is at most 1/64 of the value, so that a quantile is
/// right to 1.6 %. Adding one neither allocates nor branches on the past.
public struct Histogram: Sendable {
  /// Each power of two is cut into this many buckets.
  private static let parts = 64
  private static let partBits = 6
  private var counts = [UInt64](repeating: 0, count: (64 - partBits + 1) * parts)
  public private(set) var count: UInt64 = 0
  public private(set) var largest: UInt64 = 0

  public init() {}

  public mutating func add(_ value: UInt64) {
    counts[Self.bucket(of: value)] += 1
    count += 1
    largest = max(largest, value)
  }

  /// The value below or at which the fraction `quantile` of all values lies, 0 if there are none.
  public func value(at quantile: Double) -> UInt64 {
    let rank = max(1, UInt64((Double(count) * quantile).rounded(.up)))
    var seen: UInt64 = 0
    for (bucket, number) in counts.enumerated() where number > 0 {
      seen += number
      if seen >= rank { return min(Self.upperEdge(of: bucket), largest) }
    }
    return 0
  }

  private static func bucket(of value: UInt64) -> Int {
    if value < parts { return Int(value) }
    let power = 63 - value.leadingZeroBitCount
    return (power - partBits + 1) * parts + Int(value >> (power - partBits)) - parts
  }

  /// The largest value that falls into `bucket`.
  private static func upperEdge(of bucket: Int) -> UInt64 {
    if bucket < parts { return UInt64(bucket) }
    let shift = bucket / parts - 1
    let low = UInt64(bucket % parts + parts)
    return (low << shift) + ((1 << shift) - 1)
  }
}
