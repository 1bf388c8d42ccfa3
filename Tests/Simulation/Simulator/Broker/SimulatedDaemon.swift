// A daemon of a simulated host, which serves the sessions of many clients.
@testable import Streams

/// Lives, hangs, dies and is restarted by its service manager. Its ends of the connections are `SessionBackendModel`s.
final class SimulatedDaemon {
  let path: String
  private(set) var isUp = true
  private(set) var isHung = false
  /// Since it was started.
  private(set) var connections: [(session: SessionWorld, backend: SessionBackendModel)] = []

  init(path: String) { self.path = path }

  func accepted(_ backend: SessionBackendModel, of session: SessionWorld) {
    connections.append((session, backend))
    if isHung { backend.isHung = true }
  }

  func die(_ random: inout Seed) {
    guard isUp else { return }
    isUp = false
    isHung = false
    for (_, backend) in connections { backend.die(&random) }
    connections = []
  }

  func start() { isUp = true }

  /// It answers nothing any more, on any connection.
  func hang() {
    guard isUp else { return }
    isHung = true
    for (_, backend) in connections { backend.isHung = true }
  }

  func wake() {
    guard isHung else { return }
    isHung = false
    for (session, backend) in connections where !session.isOver { session.wake(backend.id) }
  }

  func forget(_ session: SessionWorld) { connections.removeAll { $0.session === session } }
}
