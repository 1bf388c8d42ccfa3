// Lost backends whose clients wait for them: one line in the log for all of these clients, and one when it is over.
import Streams

/// The backends that are lost at the moment. A session reports each of its connections.
final class Outages {
  private struct Outage {
    let since: Double
    /// Connections that were lost, and those of them that still wait or have been made again.
    var lost = 0
    var waiting = 0
    var reopened = 0
  }

  private let log: BrokerLog
  /// By the backend's name in the log.
  private var outages: [String: Outage] = [:]

  init(log: BrokerLog) { self.log = log }

  /// A client has lost its connection to the backend and waits.
  func begins(_ backend: String, _ reason: Message, seconds: Double, at now: Double) {
    if outages[backend] == nil {
      log[.upstream].write(.backendLost, [backend, reason, Int(seconds)])
    }
    outages[backend, default: Outage(since: now)].lost += 1
    outages[backend]?.waiting += 1
  }

  /// A client waits no more.
  func ends(_ backend: String, isReopened: Bool, at now: Double) {
    guard var outage = outages[backend] else { return }
    outage.waiting -= 1
    if isReopened { outage.reopened += 1 }
    outages[backend] = outage.waiting > 0 ? outage : nil
    guard outage.waiting <= 0 else { return }
    let milliseconds = Int((now - outage.since) * 1000)
    if outage.reopened > 0 {
      log[.upstream].write(
        .backendReturned, [backend, milliseconds, outage.reopened, outage.lost])
    } else {
      log[.upstream].write(.backendGivenUp, [backend, milliseconds])
    }
  }
}
