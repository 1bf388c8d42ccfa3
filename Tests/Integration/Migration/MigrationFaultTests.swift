// A migration that something happens to in the middle: the guest is at one host or the other, whole.
import Foundation
import Glibc
import Testing

@Suite(
  "A migration that is disturbed in its middle", .serialized, Lab.isPossible, .inTurn)
struct MigrationFaultTests {
  /// Mebibytes per second. A guest takes several seconds then, so there is a middle on any machine.
  static let slow = 4
  static let fast = 4000

  /// A guest on its way from host a to host b.
  struct Journey: Sendable {
    let ferry: Ferry
    let guest: String
    /// How virsh ended.
    let end: Task<CommandResult, any Error>

    /// In its middle when this returns.
    init(_ crossing: Crossing, _ guest: String) async throws {
      let ferry = try await Ferry(crossing, for: "faults")
      try await ferry.hosts.lab(.a).startGuest(guest, mebibytes: MigrationTests.memory)
      (self.ferry, self.guest) = (ferry, guest)
      end = Task { try await ferry.migrate(guest, from: .a, rate: MigrationFaultTests.slow) }
      try await ferry.awaitMiddle(of: guest, on: .a)
    }

    /// The guest goes on at its source, and nothing of it is left at the destination.
    func goesOnAtTheSource(sourceLocation: SourceLocation = #_sourceLocation) async throws {
      try await ferry.expect(guest, on: .a, sourceLocation: sourceLocation)
      try await ferry.destroy(guest, on: .a)
    }
  }

  @Test("domjobabort: the guest goes on where it was", arguments: Crossing.crossed)
  func aborted(_ crossing: Crossing) async throws {
    let journey = try await Journey(crossing, "quitter")
    let ferry = journey.ferry
    try await ferry.output(.a, "domjobabort", journey.guest)
    let result = try await journey.end.value
    #expect(result.status == 1 && result.errors.contains("canceled by client"), "\(result.errors)")
    try await ferry.expect(journey.guest, on: .a)
    // Nothing about that guest is spoiled: now it moves.
    let second = try await ferry.migrate(journey.guest, from: .a)
    #expect(second.status == 0, "\(second.errors)")
    try await ferry.expect(journey.guest, on: .b)
    try await ferry.destroy(journey.guest, on: .b)
    try await ferry.end()
  }

  @Test("the destination's broker is killed: the guest goes on", arguments: Crossing.crossed)
  func destinationBrokerKilled(_ crossing: Crossing) async throws {
    let journey = try await Journey(crossing, "orphan")
    let ferry = journey.ferry
    try ferry.broker(.b).signal(SIGKILL)
    let result = try await journey.end.value
    #expect(result.status == 1 && !result.errors.isEmpty, "virsh is told")
    // The next broker finds nothing half done behind it.
    try await ferry.replaceBroker(on: .b)
    try await journey.goesOnAtTheSource()
    try await ferry.end()
  }

  @Test(
    "the source's broker is killed: its client is told, and the migration, which does not need it, goes on",
    arguments: Crossing.crossed)
  func sourceBrokerKilled(_ crossing: Crossing) async throws {
    let journey = try await Journey(crossing, "unobserved")
    let ferry = journey.ferry
    try ferry.broker(.a).signal(SIGKILL)
    #expect(try await journey.end.value.status == 1)
    try await ferry.replaceBroker(on: .a)
    try await ferry.output(.a, "migrate-setspeed", journey.guest, "\(Self.fast)")
    try await eventually("the guest has arrived") {
      try await !ferry.guests(.a).contains(journey.guest)
    }
    try await ferry.expect(journey.guest, on: .b)
    try await ferry.destroy(journey.guest, on: .b)
    try await ferry.end()
  }

  @Test("the destination's daemon is killed: the guest goes on", arguments: Crossing.crossed)
  func daemonKilled(_ crossing: Crossing) async throws {
    let journey = try await Journey(crossing, "survivor")
    let ferry = journey.ferry
    let lab = try ferry.hosts.lab(.b)
    let daemon = lab.daemon(for: "qemu")
    try await lab.kill(daemon)
    let end = await journey.end.result
    try await lab.start(daemon)
    let result = try end.get()
    #expect(result.status == 1 && !result.errors.isEmpty, "virsh is told")
    #expect(
      try eventually { try ferry.broker(.b).log.contains(daemon) },
      "the broker's log says which daemon it was")
    try await journey.goesOnAtTheSource()
    try await ferry.end()
  }

  @Test(
    "the link is cut, and heals before anybody's patience ends: the guest arrives",
    arguments: Crossing.crossed)
  func shortCut(_ crossing: Crossing) async throws {
    let journey = try await Journey(crossing, "patient")
    let ferry = journey.ferry
    try await ferry.hosts.whileCut(.b) { try await Task.sleep(for: .seconds(2)) }
    try await ferry.output(.a, "migrate-setspeed", journey.guest, "\(Self.fast)")
    let result = try await journey.end.value
    #expect(result.status == 0, "\(result.errors)")
    try await ferry.expect(journey.guest, on: .b)
    try await ferry.destroy(journey.guest, on: .b)
    try await ferry.end()
  }

  @Test(
    "the link is cut for longer than keepalive allows: the guest goes on, and the half of it at the destination is gone before the link is back",
    arguments: Crossing.crossed)
  func longCut(_ crossing: Crossing) async throws {
    let journey = try await Journey(crossing, "stranded")
    let ferry = journey.ferry
    try await ferry.hosts.whileCut(.b) {
      let result = try await journey.end.value
      #expect(result.status == 1 && !result.errors.isEmpty, "virsh is told")
      try await ferry.echo(journey.guest, on: .a)
      try await eventually("the destination has given up") {
        try await !ferry.hasEmulator(of: journey.guest, on: .b)
      }
      #expect(
        try eventually { try ferry.broker(.b).log.contains("keepalive") },
        "its broker's log says why")
    }
    try await journey.goesOnAtTheSource()
    try await ferry.end()
  }
}
