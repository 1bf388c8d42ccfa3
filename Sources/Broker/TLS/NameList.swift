// Lists of names that may come in, with libvirt's wildcards.

/// Patterns, of which one has to fit the whole of a name: `*` stands for any characters or none, `?` for
/// exactly one, everything else for itself. Certificates' names and SASL users are listed like this.
struct NameList: Sendable, Equatable {
  let patterns: [String]

  init(_ patterns: [String]) { self.patterns = patterns }

  var isEmpty: Bool { patterns.isEmpty }

  /// An empty list admits nobody.
  func admits(_ name: String) -> Bool {
    patterns.contains { NameList.matches($0, name) }
  }

  /// Takes time in proportion to the product of the lengths at worst, whatever the pattern.
  static func matches(_ pattern: String, _ name: String) -> Bool {
    let pattern = Array(pattern.unicodeScalars)
    let name = Array(name.unicodeScalars)
    var (place, at) = (0, 0)
    /// Where the last star was, and what it stands for so far ends.
    var star: (place: Int, end: Int)?
    while at < name.count {
      if place < pattern.count, pattern[place] == "*" {
        star = (place, at)
        place += 1
      } else if place < pattern.count, pattern[place] == "?" || pattern[place] == name[at] {
        place += 1
        at += 1
      } else if let last = star {
        star = (last.place, last.end + 1)
        place = last.place + 1
        at = last.end + 1
      } else {
        return false
      }
    }
    return pattern[place...].allSatisfy { $0 == "*" }
  }
}
