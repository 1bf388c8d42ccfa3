// A budget that all clients share and that none of them can use up for the others.

/// Counts what is used of something limited, by origin. One origin gets at most its share, and the last eighth
/// of the total is kept for origins that have nothing yet. Root is held to the total alone.
public struct Quota: Sendable {
  public private(set) var total: Int
  public private(set) var share: Int
  public private(set) var used = 0
  private var uses: [Origin: Int] = [:]

  /// - Parameters:
  ///   - total: the most that may be used at a time.
  ///   - share: the most that one origin may use of it, unless it is root.
  public init(total: Int, share: Int) {
    self.total = total
    self.share = min(share, total)
  }

  public func used(by origin: Origin) -> Int { uses[origin] ?? 0 }

  /// Whether `count` more may be used for `origin`. If so they are counted.
  public mutating func tryReserve(_ count: Int = 1, for origin: Origin) -> Bool {
    let own = used(by: origin)
    guard count <= total - used else { return false }
    if !origin.isRoot {
      guard count <= share - own else { return false }
      guard own == 0 || count <= total - total / 8 - used else { return false }
    }
    uses[origin] = own + count
    used += count
    return true
  }

  /// `count` of what was reserved is not used any more.
  public mutating func release(_ count: Int = 1, for origin: Origin) {
    let own = used(by: origin)
    let released = min(own, count)
    used -= released
    uses[origin] = own == released ? nil : own - released
  }
}
