// A limit that all clients share and that no client can exhaust for the others.

/// Counts the use of a limited resource, by origin. One origin gets at most its share. The last eighth of the total is
/// reserved for origins that use none. Only the total limits root.
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

  /// Reserves `count` more for `origin`. False: that would exceed a limit, and nothing is reserved.
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

  /// Releases `count` of what was reserved.
  public mutating func release(_ count: Int = 1, for origin: Origin) {
    let own = used(by: origin)
    let released = min(own, count)
    used -= released
    uses[origin] = own == released ? nil : own - released
  }
}
