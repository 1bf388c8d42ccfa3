// The upstreams of one client, and the routes to them.

/// Upstreams by slot, and routes by driver. A route is the slot of an upstream in the table. Owned by the relay.
struct UpstreamTable {
  private var slots: [UpstreamLink?] = []
  /// Slots by the driver's number; -1: no route.
  private var routes = [Int](repeating: -1, count: Driver.allCases.count)

  /// Queues of removed upstreams that still have packets for the client.
  var draining: [SendQueue] = []

  var indices: Range<Int> { slots.indices }

  /// The upstream in a slot; nil: none.
  subscript(slot: Int) -> UpstreamLink? { slots.indices.contains(slot) ? slots[slot] : nil }

  /// Adds an upstream in the first free slot. Returns the slot.
  mutating func add(_ upstream: UpstreamLink) -> Int {
    if let free = slots.firstIndex(where: { $0 == nil }) {
      slots[free] = upstream
      return free
    }
    slots.append(upstream)
    return slots.count - 1
  }

  /// Adds a slot behind the others, with an upstream or free.
  mutating func append(_ upstream: UpstreamLink) { slots.append(upstream) }
  mutating func addVacant() { slots.append(nil) }

  /// Gives a slot, which is not free, to another upstream. The routes to it stay.
  mutating func replace(_ slot: Int, by upstream: UpstreamLink) { slots[slot] = upstream }

  /// Frees a slot and removes the routes to it. Returns the upstream that was in the slot.
  mutating func remove(_ slot: Int) -> UpstreamLink? {
    guard let upstream = self[slot] else { return nil }
    slots[slot] = nil
    for (driver, route) in routes.enumerated() where route == slot { routes[driver] = -1 }
    return upstream
  }

  mutating func removeAll() {
    slots = []
    draining = []
    for driver in routes.indices { routes[driver] = -1 }
  }

  /// The slot of the upstream that serves a driver; nil: the owner decides.
  func route(to driver: Driver) -> Int? {
    let slot = routes[Int(driver.rawValue)]
    return slot >= 0 ? slot : nil
  }

  mutating func setRoute(_ slot: Int, to driver: Driver) { routes[Int(driver.rawValue)] = slot }
}
