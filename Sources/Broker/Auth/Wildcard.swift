// Lists of those who may come in, with libvirt's wildcards.

/// A name, or many: `*` stands for any run of characters, `?` for exactly one, and all else for itself.
struct Wildcard: Sendable, Equatable {
  private let pattern: [UnicodeScalar]

  init(_ text: String) { pattern = Array(text.unicodeScalars) }

  /// Whether the whole of `text` is meant. Goes back only to the last `*`, so that no pattern makes it slow.
  func matches(_ text: String) -> Bool {
    let text = Array(text.unicodeScalars)
    var place = 0
    var next = 0
    var star: (place: Int, next: Int)?
    while next < text.count {
      if place < pattern.count, pattern[place] == "*" {
        star = (place + 1, next)
        place += 1
      } else if place < pattern.count, pattern[place] == "?" || pattern[place] == text[next] {
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
