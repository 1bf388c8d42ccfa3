// Which pairs of state and event the simulated sessions have met.
@testable import Streams

/// Collects pairs over many runs.
///
/// The driver makes some events itself. These are seen by what they lead to, and only where that leaves no doubt: a
/// single call in a turn, a reply that the relay awaits no more.
final class SessionCoverage {
  struct Pair: Hashable, CustomStringConvertible {
    let state: String
    let event: String
    var description: String { "\(state) × \(event)" }
  }

  /// All pairs, with how often each was met.
  var report: String {
    let tables = [("session", session), ("upstream", upstream), ("connection", connection)]
    return tables.map { name, pairs in
      let lines = pairs.map { "\(name): \($0.key): \($0.value)" }.sorted()
      return lines.joined(separator: "\n")
    }.filter { !$0.isEmpty }.joined(separator: "\n")
  }

  /// What a turn of the driver began with.
  struct Before {
    let session: Session
    let calls: UInt64
    let upstream: Int?
    let ownSerial: UInt32?
  }

  /// How often each was met.
  private(set) var session: [Pair: Int] = [:]
  private(set) var upstream: [Pair: Int] = [:]
  /// Of connections to a broker, from the kernel's queue on.
  private(set) var connection: [Pair: Int] = [:]
  /// The upstream whose connection ended last.
  private var lastEnded = 0

  func note(_ session: Session, _ event: SessionEvent) {
    insert(session.state.name, event.name)
    guard case .upstream(let id, let event) = event else { return }
    if case .ended = event { lastEnded = id }
    guard let upstream = session.upstreams.first(where: { $0.id == id }) else { return }
    self.upstream[Pair(state: upstream.state.name, event: event.name), default: 0] += 1
  }

  func before(_ driver: SessionDriver, upstream: Int?) -> Before {
    Before(
      session: driver.session, calls: driver.relay.counters.calls, upstream: upstream,
      ownSerial: upstream.flatMap { ownSerial($0, driver) })
  }

  private func ownSerial(_ upstream: Int, _ driver: SessionDriver) -> UInt32? {
    driver.slot(of: upstream).flatMap { driver.relay.upstreams[$0]?.ownSerial }
  }

  /// A turn of the client's socket is over.
  func noteCall(_ before: Before, _ driver: SessionDriver) {
    guard driver.relay.counters.calls == before.calls + 1 else { return }
    if case .open = before.session.state {
      guard case .closing = driver.session.state else { return }
    }
    insert(before.session.state.name, "call")
  }

  /// A turn of an upstream's socket is over.
  func noteAnswer(_ before: Before, _ driver: SessionDriver) {
    guard let id = before.upstream, let serial = before.ownSerial, lastEnded != id,
      let upstream = before.session.upstreams.first(where: { $0.id == id }),
      ownSerial(id, driver) != serial
    else { return }
    self.upstream[Pair(state: upstream.state.name, event: "answered"), default: 0] += 1
    insert(before.session.state.name, "upstream")
  }

  /// A turn is over, and the session is not.
  func noteTurn(_ driver: SessionDriver) {
    if driver.session.awaitsProgress { insert(driver.session.state.name, "progress") }
  }

  private func insert(_ state: String, _ event: String) {
    session[Pair(state: state, event: event), default: 0] += 1
  }

  func noteConnection(_ stage: String, _ event: String) {
    connection[Pair(state: stage, event: event), default: 0] += 1
  }
}
