// Comparison of long byte sequences with a short description of the difference.

/// Describes where two byte sequences differ; nil if they are equal.
func difference(_ found: [UInt8], _ wanted: [UInt8]) -> String? {
  if found == wanted { return nil }
  for (place, (a, b)) in zip(found, wanted).enumerated() where a != b {
    return "\(a) instead of \(b) at \(place) of \(wanted.count)"
  }
  return "\(found.count) bytes instead of \(wanted.count)"
}
