// Lists of allowed names, with libvirt's wildcards.

/// Patterns, of which one has to fit the whole of a name: `*` stands for any run of characters, `?` for
/// exactly one, everything else for itself. Certificates' names and SASL users are listed like this.
public struct NameList: Sendable, Equatable {
  private let patterns: [[UnicodeScalar]]

  public init(_ patterns: [String]) { self.patterns = patterns.map { Array($0.unicodeScalars) } }

  var isEmpty: Bool { patterns.isEmpty }

  /// An empty list allows no name.
  public func admits(_ name: String) -> Bool {
    let name = Array(name.unicodeScalars)
    return patterns.contains { NameList.fits($0, name) }
  }

  /// Goes back only to the last `*`: takes time in proportion to the product of the lengths at worst.
  private static func fits(_ pattern: [UnicodeScalar], _ name: [UnicodeScalar]) -> Bool {
    var place = 0
    var next = 0
    /// What comes behind the last star, and where what that stands for so far ends.
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
