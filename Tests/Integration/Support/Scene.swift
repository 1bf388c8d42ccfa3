// A broker in front of a scripted backend.
import Testing

/// Both, kept together: a backend that nobody holds any more is gone, socket and all.
final class Scene: Sendable {
  let broker: BrokerProcess
  let backend: ScriptedBackend
  /// The calls the backend keeps to itself, where that is its script.
  let held: Held

  /// A backend that keeps every call to itself until the test has it answer.
  static func holding(settings: [String] = []) async throws -> Scene {
    let held = Held()
    return try await Scene(settings: settings, held: held) { held.keep($0, $1) }
  }

  /// A backend that does nothing in particular, and a broker whose SASL knows the users of a realm.
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

  /// The end of the test: the broker is expected to stop in good order.
  func end(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await broker.stop(sourceLocation: sourceLocation)
    withExtendedLifetime(backend) {}
  }
}
