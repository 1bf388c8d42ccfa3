// The summary of several runs of one measurement.

/// The median and the range of some figures. Medians are compared, because a single disturbed run does not change
/// them.
public struct Spread: Sendable, Equatable, Codable {
  public let median: Double
  public let lowerQuartile: Double
  public let upperQuartile: Double
  public let least: Double
  public let most: Double
  public let count: Int

  /// nil if there are no figures.
  public init?(_ figures: [Double]) {
    let sorted = figures.sorted()
    guard let first = sorted.first, let last = sorted.last else { return nil }
    func at(_ quantile: Double) -> Double {
      let place = quantile * Double(sorted.count - 1)
      let below = Int(place)
      let above = min(below + 1, sorted.count - 1)
      return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
    }
    median = at(0.5)
    lowerQuartile = at(0.25)
    upperQuartile = at(0.75)
    least = first
    most = last
    count = sorted.count
  }
}
