// Logs calls that a daemon does not answer.
import Streams

/// Checks the calls under way as long as any client awaits a reply, and logs each slow call once. A broker whose
/// clients are idle has no timer for them.
final class SlowCallChecks {
  private unowned let broker: Broker
  private lazy var alarm = Alarm(on: broker.reactor) { [unowned self] in check() }

  init(of broker: Broker) { self.broker = broker }

  private var seconds: Double { broker.settings.timeouts.slowCallSeconds }

  /// A client awaits a reply. Costs one comparison if checks are already under way or disabled.
  func start() {
    guard !alarm.isRunning, seconds > 0 else { return }
    // Ten checks in `slow_call_seconds`: a call is logged at most a tenth of it, or 5 s, late.
    alarm.start(seconds: min(5, seconds / 10))
  }

  /// `slow_call_seconds` has changed.
  func secondsChanged() {
    alarm.stop()
    start()
  }

  private func check() {
    let now = broker.reactor.now
    var isAnyAwaited = false
    for session in broker.sessions.all where session.relay.awaitedCount > 0 {
      isAnyAwaited = true
      for call in session.relay.overdueCalls(at: now, patience: seconds) { session.logSlow(call) }
    }
    if isAnyAwaited { start() } else { broker.loop.spareMemory.callsEnded() }
  }
}

extension ClientSession {
  /// Procedures whose time depends on the size of a guest's memory or of a volume, or on a guest's agent: the
  /// beginnings of their names, after the prefix of their program.
  private static let lengthy = [
    "DOMAIN_MIGRATE_", "DOMAIN_SAVE", "DOMAIN_MANAGED_SAVE", "DOMAIN_RESTORE", "DOMAIN_CORE_DUMP",
    "DOMAIN_CREATE", "DOMAIN_SNAPSHOT_CREATE", "DOMAIN_REVERT_TO_SNAPSHOT",
    "DOMAIN_SNAPSHOT_DELETE",
    "DOMAIN_AGENT_COMMAND", "STORAGE_POOL_BUILD", "STORAGE_POOL_REFRESH", "STORAGE_VOL_CREATE",
    "STORAGE_VOL_DELETE", "STORAGE_VOL_RESIZE", "STORAGE_VOL_WIPE",
  ]

  func logSlow(_ call: Call) {
    let backend = upstreams.first { $0.slot == call.upstream }?.backend
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    let procedure = known.map { "\($0.name)" } ?? "a procedure of program \(call.program)"
    let isLengthy = ClientSession.lengthy.contains(where: procedure.hasPrefix)
    let place = backend.map { "\($0.daemon) at \($0.path)" } ?? "its backend"
    let seconds = Int(broker.settings.timeouts.slowCallSeconds)
    write(
      Message(.noReply, [procedure, call.procedure, call.serial, place, seconds]), to: .upstream,
      at: isLengthy ? .info : .warning)
  }
}
