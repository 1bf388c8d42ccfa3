// Text for people that more than one layer writes.

/// A number with a noun whose plural ends in s: `1 client`, `2 clients`.
public func counted(_ count: some BinaryInteger, _ noun: String) -> String {
  "\(count) \(noun)\(count == 1 ? "" : "s")"
}
