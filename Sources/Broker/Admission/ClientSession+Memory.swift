// The memory that clients make the broker hold, counted by origin and kept within its budget.
import Glibc
import Streams

extension SessionSet {
  /// The default limit for all clients together: an eighth of the machine's memory.
  static var usualTotalBuffer: Int {
    let bytes = sysconf(Int32(_SC_PHYS_PAGES)).multipliedReportingOverflow(
      by: sysconf(Int32(_SC_PAGESIZE)))
    return max(256 << 20, bytes.overflow ? 0 : bytes.partialValue / 8)
  }

  /// Bytes that all clients together may make the broker hold.
  static func totalMemory(_ limits: LimitSettings) -> Int {
    limits.totalBufferBytes > 0 ? limits.totalBufferBytes : usualTotalBuffer
  }

  func limitMemory(by limits: LimitSettings) {
    memory.total = SessionSet.totalMemory(limits)
    memory.share = memory.total / 2
  }

  /// Ends the client that holds the most memory of this origin.
  fileprivate func relieve(_ origin: Origin) {
    let largest = all.filter { $0.origin == origin }.max { $0.heldBytes < $1.heldBytes }
    largest?.finish(
      because: Message(.totalBufferReached, [origin, memory.used(by: origin)]))
  }
}

extension ClientSession {
  /// Updates the count of the client's memory. Costs one comparison if it has not changed.
  func countMemory() {
    let held = pool.heldCount * pool.capacity
    guard held != heldBytes else { return }
    let grown = held - heldBytes
    heldBytes = held
    let sessions = broker.sessions
    if let origin = sessions.memory.changed(origin, by: grown) { sessions.relieve(origin) }
  }
}
