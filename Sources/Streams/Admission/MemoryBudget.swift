// The limit on the memory that the broker holds for all clients.

/// Adds up what clients hold. While an origin is above its share, the client of it that holds most has to end; while all
/// together are above the total, the one that holds most of the origin that does. Root is held to no share, and gives
/// nothing up for the total.
public struct MemoryBudget: Sendable {
  private struct Holder {
    let id: UInt64
    let origin: Origin
    var bytes: Int
  }

  /// Bytes for all together, and for one origin.
  public var total: Int
  public var share: Int
  public private(set) var used = 0
  private var uses: [Origin: Int] = [:]
  /// Clients that hold anything, by their numbers.
  private var holders: [UInt64: Holder] = [:]

  /// - Parameter total: in bytes. The share of one origin is half of it.
  public init(total: Int) {
    self.total = total
    share = total / 2
  }

  public func used(by origin: Origin) -> Int { uses[origin] ?? 0 }

  /// Notes the bytes that a client holds now. Returns the clients that must end so that the growth fits. Lowering the
  /// limit alone ends no client.
  public mutating func changed(_ id: UInt64, of origin: Origin, to bytes: Int) -> [UInt64] {
    let grown = bytes - (holders[id]?.bytes ?? 0)
    let before = (used: used, own: used(by: origin))
    used += grown
    let own = before.own + grown
    uses[origin] = own == 0 ? nil : own
    holders[id] = bytes == 0 ? nil : Holder(id: id, origin: origin, bytes: bytes)
    guard grown > 0, used > total || (own > share && !origin.isRoot) else { return [] }
    return victims(of: origin, before)
  }

  private func victims(of origin: Origin, _ before: (used: Int, own: Int)) -> [UInt64] {
    var left = holders.values.filter { !$0.origin.isRoot }
    var uses = uses.filter { !$0.key.isRoot }
    var used = used
    var ended: [UInt64] = []
    func end(_ victim: Holder) {
      ended.append(victim.id)
      left.removeAll { $0.id == victim.id }
      uses[victim.origin, default: 0] -= victim.bytes
      used -= victim.bytes
    }
    while let own = uses[origin], own > max(share, before.own),
      let victim = MemoryBudget.largest(left.filter { $0.origin == origin })
    {
      end(victim)
    }
    while used > max(total, before.used), let most = uses.values.max(),
      let victim = MemoryBudget.largest(left.filter { uses[$0.origin] == most })
    {
      end(victim)
    }
    return ended
  }

  /// Of those that hold as much, the one that came first.
  private static func largest(_ holders: [Holder]) -> Holder? {
    holders.max { ($0.bytes, $1.id) < ($1.bytes, $0.id) }
  }
}
