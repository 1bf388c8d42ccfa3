// From figures to positions on an axis.
import Foundation

/// An axis: figures from `low` to `high` are between two positions of the picture.
struct Scale {
  let low, high: Double
  let start, end: Double
  let isLogarithmic: Bool
  /// The figures with a line and a label, ascending.
  let ticks: [Double]

  /// From zero to a round number above `most`, in about five steps.
  init(upTo most: Double, from start: Double, to end: Double) {
    let reach = most.isFinite && most > 0 ? most : 1
    let step = Self.roundStep(reach / 5)
    let count = max(1, (reach / step - 1e-9).rounded(.up))
    (low, high) = (0, step * count)
    (self.start, self.end) = (start, end)
    isLogarithmic = false
    ticks = (0...Int(min(count, 20))).map { Double($0) * step }
  }

  /// A logarithmic axis over the positive `figures`. With `isBinary` the marks are powers of four, for sizes in
  /// bytes. Otherwise they are 1, 2 and 5 times each power of ten, or only the powers if those would be too many.
  init(logarithmic figures: [Double], isBinary: Bool, from start: Double, to end: Double) {
    let positive = figures.filter { $0 > 0 && $0.isFinite }
    let least = positive.min() ?? 1
    let most = max(positive.max() ?? 10, least)
    (self.start, self.end) = (start, end)
    isLogarithmic = true
    if isBinary {
      // A margin, so that the first and the last point are not on the frame.
      (low, high) = (least / 1.6, most * 1.6)
      ticks = stride(from: 0.0, through: 100, by: 2).map { exp2($0) }
        .filter { $0 >= least / 1.6 && $0 <= most * 1.6 }
    } else {
      let first = Int(log10(least).rounded(.down)) - 1
      let last = Int(log10(most).rounded(.up)) + 1
      let fine = (first...last).flatMap { power in
        [1, 2, 5].map { $0 * pow(10, Double(power)) }
      }
      let low = fine.last { $0 <= least / 1.05 } ?? least / 2
      let high = fine.first { $0 >= most * 1.05 } ?? most * 2
      let shown = fine.filter { $0 >= low * 0.999 && $0 <= high * 1.001 }
      let coarse = (first...last).map { pow(10, Double($0)) }
        .filter { $0 >= low * 0.999 && $0 <= high * 1.001 }
      (self.low, self.high) = (low, high)
      ticks = shown.count > 12 ? coarse : shown
    }
  }

  /// The position of `value`; a value beyond the axis is at its end.
  func place(_ value: Double) -> Double {
    let value = min(max(value, low), high)
    let part =
      isLogarithmic
      ? (log(value) - log(low)) / (log(high) - log(low)) : (value - low) / (high - low)
    return start + (end - start) * part
  }

  /// The least of 1, 2, 2.5 and 5 times a power of ten that is not below `step`.
  static func roundStep(_ step: Double) -> Double {
    let power = pow(10, log10(step).rounded(.down))
    return ([1, 2, 2.5, 5, 10].first { $0 * power >= step * (1 - 1e-9) } ?? 10) * power
  }

  /// A figure in its shortest form: 40,000 and 2.5 and 0.05.
  static func label(_ value: Double) -> String {
    guard abs(value) >= 1000, abs(value) < 1e15 else { return String(format: "%.3g", value) }
    var digits = String(Int(abs(value).rounded()))
    var groups: [Substring] = []
    while digits.count > 3 {
      groups.insert(digits.suffix(3), at: 0)
      digits.removeLast(3)
    }
    return (value < 0 ? "-" : "") + ([digits[...]] + groups).joined(separator: ",")
  }

  /// A measured figure with three significant digits, zeros included.
  static func figureLabel(_ value: Double) -> String {
    guard abs(value) < 1000 else { return label(value) }
    let places = abs(value) < 1 ? 3 : abs(value) < 10 ? 2 : abs(value) < 100 ? 1 : 0
    return String(format: "%.\(places)f", value)
  }

  /// For example 64 B, 1 KiB, 1 MiB.
  static func bytesLabel(_ value: Double) -> String {
    var (value, units) = (value, ["B", "KiB", "MiB", "GiB", "TiB"][...])
    while value >= 1024, units.count > 1 {
      value /= 1024
      units.removeFirst()
    }
    return "\(label(value)) \(units.first ?? "B")"
  }
}
