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

  /// What a turn of the driver began with.
  struct Before {
    let session: Session
    let calls: UInt64
    let upstream: Int?
    let ownSerial: UInt32?
  }

  private(set) var session: Set<Pair> = []
  private(set) var upstream: Set<Pair> = []
  /// The upstream whose connection ended last.
  private var lastEnded = 0

  func note(_ session: Session, _ event: SessionEvent) {
    self.session.insert(Pair(state: session.state.name, event: event.name))
    guard case .upstream(let id, let event) = event else { return }
    if case .ended = event { lastEnded = id }
    guard let upstream = session.upstreams.first(where: { $0.id == id }) else { return }
    self.upstream.insert(Pair(state: upstream.state.name, event: event.name))
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
    self.upstream.insert(Pair(state: upstream.state.name, event: "answered"))
    insert(before.session.state.name, "upstream")
  }

  /// A turn is over, and the session is not.
  func noteTurn(_ driver: SessionDriver) {
    if driver.session.awaitsProgress { insert(driver.session.state.name, "progress") }
  }

  private func insert(_ state: String, _ event: String) {
    session.insert(Pair(state: state, event: event))
  }
}
