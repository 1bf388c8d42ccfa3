// A broker in front of a scripted backend.
import Testing

/// Keeps both, because a backend ends and removes its socket with its last reference.
final class Scene: Sendable {
  let broker: BrokerProcess
  let backend: ScriptedBackend
  /// The calls that the backend holds, if its script holds calls.
  let held: Held

  /// A backend that holds every call until the test answers it.
  static func holding(settings: [String] = []) async throws -> Scene {
    let held = Held()
    return try await Scene(settings: settings, held: held) { held.keep($0, $1) }
  }

  /// A backend that gives empty replies, and a broker whose SASL has the users of a realm.
  convenience init(settings: [String], realm: PasswordRealm) async throws {
    try await self.init(settings: settings, environment: realm.environment) { _, _ in false }
  }

  init(
    settings: [String] = [], environment: [String: String] = [:], held: Held = Held(),
    script: @escaping ScriptedBackend.Script
  ) async throws {
    self.held = held
    let sockets = try Scratch.directory("s")
    backend = try ScriptedBackend(in: sockets, script: script)
    broker = try await BrokerProcess.start(
      backends: sockets, settings: settings, environment: environment)
  }

  /// Ends the test: the broker must exit cleanly.
  func end(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await broker.stop(sourceLocation: sourceLocation)
    withExtendedLifetime(backend) {}
  }
}
