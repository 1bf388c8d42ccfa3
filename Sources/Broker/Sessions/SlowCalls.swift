// Calls that a daemon leaves unanswered: each is told of once.
import Streams

extension Broker {
  /// Sweeps go on from here as long as any client awaits a reply. A call that comes while they do costs
  /// nothing, and a broker whose clients are idle has no timer for them.
  func startSweeps() {
    isSweepDue = true
    // Ten looks in the time a call is given: its age is told to within a tenth, or to 5 s.
    sweepAlarm.start(seconds: min(5, settings.slowCallSeconds / 10))
  }

  /// Another time is given to calls; 0: as long as they like.
  func patienceChanged() {
    sweepAlarm.stop()
    isSweepDue = settings.slowCallSeconds <= 0
    if !isSweepDue { startSweeps() }
  }

  func sweepCalls() {
    isSweepDue = false
    let now = reactor.now
    var isAnyAwaited = false
    for session in sessions.values where session.relay.awaitedCount > 0 {
      isAnyAwaited = true
      for call in session.relay.overdueCalls(at: now, patience: settings.slowCallSeconds) {
        session.tellSlow(call)
      }
    }
    if isAnyAwaited { startSweeps() } else { spareMemory.callsEnded() }
  }
}

extension ClientSession {
  /// Procedures that take as long as a guest's memory or a volume is large, or as somebody else needs: their
  /// names begin so, behind the prefix of their program.
  private static let lengthy = [
    "DOMAIN_MIGRATE_", "DOMAIN_SAVE", "DOMAIN_MANAGED_SAVE", "DOMAIN_RESTORE", "DOMAIN_CORE_DUMP",
    "DOMAIN_CREATE", "DOMAIN_SNAPSHOT_CREATE", "DOMAIN_REVERT_TO_SNAPSHOT",
    "DOMAIN_SNAPSHOT_DELETE",
    "DOMAIN_AGENT_COMMAND", "STORAGE_POOL_BUILD", "STORAGE_POOL_REFRESH", "STORAGE_VOL_CREATE",
    "STORAGE_VOL_DELETE", "STORAGE_VOL_RESIZE", "STORAGE_VOL_WIPE",
  ]

  func tellSlow(_ call: Call) {
    let backend = upstreams.first { $0.slot == call.upstream }?.backend
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    let procedure = known.map { "\($0.name)" } ?? "a procedure of program \(call.program)"
    let isLengthy = ClientSession.lengthy.contains(where: procedure.hasPrefix)
    log[.upstream].line(
      isLengthy ? .info : .warning,
      "\(name): no answer to \(procedure) (procedure \(call.procedure), serial \(call.serial)) for "
        + "\(Int(broker.settings.slowCallSeconds)) s from \(backend?.daemon ?? "its daemon")"
        + (backend.map { " at \($0.path)" } ?? "") + " (slow_call_seconds)")
  }
}
