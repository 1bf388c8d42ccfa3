// What clients make the broker hold, counted by origin and kept within its budget.
import Glibc
import Streams

extension SessionSet {
  /// What all clients may hold where nothing is configured: an eighth of the machine's memory.
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

  /// Ends the client that holds most of what its origin does.
  fileprivate func endForMemory(_ id: UInt64) {
    guard let session = self[id] else { return }
    session.finish(
      because: Message(.totalBufferReached, [session.origin, memory.used(by: session.origin)]))
  }
}

extension ClientSession {
  /// Counts what the client makes the broker hold by now. Costs a comparison where that is what it was.
  func countMemory() {
    let held = pool.heldCount * pool.capacity
    guard held != heldBytes else { return }
    heldBytes = held
    let sessions = broker.sessions
    for id in sessions.memory.changed(id, of: origin, to: held) { sessions.endForMemory(id) }
  }
}
