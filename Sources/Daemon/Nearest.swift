// The known word that a mistyped word may stand for.

/// The candidate nearest to `word`, if it is near enough to be a typing mistake: one edit in three letters. Of equally
/// near candidates the first in the alphabet, so that every run gives the same answer.
func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
  // A word this long is no mistyped key, and comparing it would need a large table.
  guard word.utf8.count <= 64 else { return nil }
  let found = candidates.map { (distance: edits(from: word, to: $0), $0) }.min { $0 < $1 }
  return found.flatMap { $0.distance * 3 <= word.utf8.count ? $0.1 : nil }
}

/// How many letters must be inserted, removed or changed to turn one word into the other.
func edits(from first: String, to second: String) -> Int {
  let second = Array(second.utf8)
  var row = Array(0...second.count)
  for (above, letter) in first.utf8.enumerated() {
    var diagonal = row[0]
    row[0] = above + 1
    for (index, other) in second.enumerated() {
      let changed = diagonal + (letter == other ? 0 : 1)
      diagonal = row[index + 1]
      row[index + 1] = min(changed, row[index] + 1, diagonal + 1)
    }
  }
  return row[second.count]
}
