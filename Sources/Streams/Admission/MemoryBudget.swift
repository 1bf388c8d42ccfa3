// How much memory all clients together may make the broker hold.

/// Adds up what clients hold, by origin. An origin above its share, and above the total the one that holds most,
/// has to give something up. Root is held to no share, and gives nothing up for the total.
public struct MemoryBudget: Sendable {
  /// Bytes for all together, and for one origin.
  public var total: Int
  public var share: Int
  public private(set) var used = 0
  private var uses: [Origin: Int] = [:]

  /// - Parameter total: one origin gets half of it.
  public init(total: Int) {
    self.total = total
    share = total / 2
  }

  public func used(by origin: Origin) -> Int { uses[origin] ?? 0 }

  /// What a client of `origin` holds has changed by so many bytes. The origin that has to give something up, if
  /// any.
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
