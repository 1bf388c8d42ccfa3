// Long byte sequences compared, so that a failure can be read.

/// Where two sequences of bytes part; nil if they are the same.
func difference(_ found: [UInt8], _ wanted: [UInt8]) -> String? {
  if found == wanted { return nil }
  for (place, (a, b)) in zip(found, wanted).enumerated() where a != b {
    return "\(a) instead of \(b) at \(place) of \(wanted.count)"
  }
  return "\(found.count) bytes instead of \(wanted.count)"
}
