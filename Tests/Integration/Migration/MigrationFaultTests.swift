// A migration with a failure in the middle: the guest then runs on one host or the other, intact.
import Foundation
import Glibc
import Testing

@Suite(
  "A migration with a failure in the middle", .serialized, Lab.isPossible, .inTurnFirst)
struct MigrationFaultTests {
  /// Mebibytes per second. A migration then takes several seconds, so a test can act in the middle of it on any
  /// machine.
  static let slow = 4
  static let fast = 4000

  /// A guest that migrates from host a to host b.
  struct RunningMigration: Sendable {
    let scene: MigrationScene
    let guest: String
    /// virsh's result.
    let end: Task<CommandResult, any Error>

    /// Returns in the middle of the migration.
    init(_ crossing: Crossing, _ guest: String) async throws {
      let scene = try await MigrationScene(crossing, for: "faults")
      try await scene.hosts.lab(.a).startGuest(guest, mebibytes: MigrationTests.memory)
      (self.scene, self.guest) = (scene, guest)
      end = Task { try await scene.migrate(guest, from: .a, rate: MigrationFaultTests.slow) }
      try await scene.awaitMiddle(of: guest, on: .a)
    }

    /// Expects the guest to run on its source, and nothing of it on the destination.
    func expectAtTheSource(sourceLocation: SourceLocation = #_sourceLocation) async throws {
      try await scene.expect(guest, on: .a, sourceLocation: sourceLocation)
      try await scene.destroy(guest, on: .a)
    }
  }

  @Test("domjobabort: the guest continues on its source", arguments: Crossing.crossed)
  func aborted(_ crossing: Crossing) async throws {
    let running = try await RunningMigration(crossing, "quitter")
    let scene = running.scene
    try await scene.output(.a, "domjobabort", running.guest)
    let result = try await running.end.value
    #expect(result.status == 1 && result.errors.contains("canceled by client"), "\(result.errors)")
    try await scene.expect(running.guest, on: .a)
    // The guest can still be migrated.
    let second = try await scene.migrate(running.guest, from: .a)
    #expect(second.status == 0, "\(second.errors)")
    try await scene.expect(running.guest, on: .b)
    try await scene.destroy(running.guest, on: .b)
    try await scene.end()
  }

  @Test(
    "the destination's broker is killed: the guest continues on its source",
    arguments: Crossing.crossed)
  func destinationBrokerKilled(_ crossing: Crossing) async throws {
    let running = try await RunningMigration(crossing, "orphan")
    let scene = running.scene
    try scene.broker(.b).signal(SIGKILL)
    let result = try await running.end.value
    #expect(result.status == 1 && !result.errors.isEmpty, "virsh is told")
    // The next broker is not affected.
    try await scene.replaceBroker(on: .b)
    try await running.expectAtTheSource()
    try await scene.end()
  }

  @Test(
    "the source's broker is killed: its client gets an error, and the migration, which does not need that broker, continues",
    arguments: Crossing.crossed)
  func sourceBrokerKilled(_ crossing: Crossing) async throws {
    let running = try await RunningMigration(crossing, "unobserved")
    let scene = running.scene
    try scene.broker(.a).signal(SIGKILL)
    #expect(try await running.end.value.status == 1)
    try await scene.replaceBroker(on: .a)
    try await scene.output(.a, "migrate-setspeed", running.guest, "\(Self.fast)")
    try await eventually("the guest has arrived") {
      try await !scene.guests(.a).contains(running.guest)
    }
    try await scene.expect(running.guest, on: .b)
    try await scene.destroy(running.guest, on: .b)
    try await scene.end()
  }

  @Test(
    "the destination's daemon is killed: the guest continues on its source",
    arguments: Crossing.crossed)
  func daemonKilled(_ crossing: Crossing) async throws {
    let running = try await RunningMigration(crossing, "survivor")
    let scene = running.scene
    let lab = try scene.hosts.lab(.b)
    let daemon = lab.daemon(for: "qemu")
    try await lab.kill(daemon)
    let end = await running.end.result
    try await lab.start(daemon)
    let result = try end.get()
    #expect(result.status == 1 && !result.errors.isEmpty, "virsh is told")
    #expect(
      try eventually { try scene.broker(.b).log.contains(daemon) },
      "the broker's log says which daemon it was")
    try await running.expectAtTheSource()
    try await scene.end()
  }

  @Test(
    "the link is cut and restored within the keepalive limits: the guest arrives",
    arguments: Crossing.crossed)
  func shortCut(_ crossing: Crossing) async throws {
    let running = try await RunningMigration(crossing, "patient")
    let scene = running.scene
    // The length of the cut, which is the fault itself.
    try await scene.hosts.whileCut(.b) { try await Task.sleep(for: .seconds(2)) }
    try await scene.output(.a, "migrate-setspeed", running.guest, "\(Self.fast)")
    let result = try await running.end.value
    #expect(result.status == 0, "\(result.errors)")
    try await scene.expect(running.guest, on: .b)
    try await scene.destroy(running.guest, on: .b)
    try await scene.end()
  }

  @Test(
    "the link is cut beyond the keepalive limits: the guest continues on its source, and the destination removes its part before the link is restored",
    arguments: Crossing.crossed)
  func longCut(_ crossing: Crossing) async throws {
    let running = try await RunningMigration(crossing, "stranded")
    let scene = running.scene
    try await scene.hosts.whileCut(.b) {
      let result = try await running.end.value
      #expect(result.status == 1 && !result.errors.isEmpty, "virsh is told")
      try await scene.echo(running.guest, on: .a)
      try await eventually("the destination has given up") {
        try await !scene.hasEmulator(of: running.guest, on: .b)
      }
      #expect(
        try eventually { try scene.broker(.b).log.contains("keepalive") },
        "its broker's log says why")
    }
    try await running.expectAtTheSource()
    try await scene.end()
  }
}
