// Lists of allowed names, with libvirt's wildcards.

/// Patterns, of which one must match the whole name: `*` stands for any run of characters, `?` for exactly one, every
/// other character for itself. Lists of certificates' names and of SASL users have this form.
public struct NameList: Sendable, Equatable {
  private let patterns: [[UnicodeScalar]]

  public init(_ patterns: [String]) { self.patterns = patterns.map { Array($0.unicodeScalars) } }

  var isEmpty: Bool { patterns.isEmpty }

  /// An empty list allows no name.
  public func admits(_ name: String) -> Bool {
    let name = Array(name.unicodeScalars)
    return patterns.contains { NameList.fits($0, name) }
  }

  /// Backtracks only to the last `*`: the time is at worst proportional to the product of the lengths.
  private static func fits(_ pattern: [UnicodeScalar], _ name: [UnicodeScalar]) -> Bool {
    var place = 0
    var next = 0
    /// The position after the last star, and the end of the text that the star has matched so far.
    var star: (place: Int, next: Int)?
    while next < name.count {
      if place < pattern.count, pattern[place] == "*" {
        place += 1
        star = (place, next)
      } else if place < pattern.count, pattern[place] == "?" || pattern[place] == name[next] {
        place += 1
        next += 1
      } else if let (after, taken) = star {
        star = (after, taken + 1)
        place = after
        next = taken + 1
      } else {
        return false
      }
    }
    return pattern[place...].allSatisfy { $0 == "*" }
  }
}
