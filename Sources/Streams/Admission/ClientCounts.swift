// How many clients there are of one kind.

/// Counts clients by a name they have in common: an address, or whose they are.
public struct ClientCounts: Sendable {
  private var counts: [String: Int] = [:]

  public init() {}

  public subscript(name: String) -> Int { counts[name] ?? 0 }

  /// Counts one more.
  /// - Parameter most: the limit; 0: none.
  /// - Returns: whether it is one too many. It counts all the same, until `remove`.
  public mutating func add(_ name: String, most: Int) -> Bool {
    let count = self[name] + 1
    counts[name] = count
    return most > 0 && count > most
  }

  public mutating func remove(_ name: String) {
    guard let count = counts[name] else { return }
    counts[name] = count > 1 ? count - 1 : nil
  }
}
