// The limit on the memory that the broker holds for all clients.

/// Counts the bytes held for clients, by origin. An origin above its share must release some. Above the total, the
/// origin that holds the most must release some. Root has no share limit, and releases nothing for the total.
public struct MemoryBudget: Sendable {
  /// The most bytes for all origins together, and for one origin.
  public var total: Int
  public var share: Int
  public private(set) var used = 0
  private var uses: [Origin: Int] = [:]

  /// - Parameter total: in bytes. The share of one origin is half of it.
  public init(total: Int) {
    self.total = total
    share = total / 2
  }

  public func used(by origin: Origin) -> Int { uses[origin] ?? 0 }

  /// The bytes held for a client of `origin` have changed by `bytes`. Returns the origin that must release some; nil:
  /// none.
  public mutating func changed(_ origin: Origin, by bytes: Int) -> Origin? {
    let own = used(by: origin) + bytes
    used += bytes
    uses[origin] = own == 0 ? nil : own
    guard bytes > 0 else { return nil }
    if own > share, !origin.isRoot { return origin }
    guard used > total else { return nil }
    return uses.filter { !$0.key.isRoot }.max { $0.value < $1.value }?.key
  }
}
