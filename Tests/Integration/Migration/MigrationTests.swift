// Tunnelled live migration, peer to peer, with a broker in front of each host's daemons.
import Foundation
import Testing

@Suite(
  "A guest migrates to another host through the broker", .serialized, Lab.isPossible, .inTurnFirst)
struct MigrationTests {
  /// Mebibytes of incompressible memory of a guest.
  static let memory = 32

  @Test(
    "it echoes there with all of its memory unchanged, and nothing of it is left on the source",
    arguments: Crossing.all)
  func moves(_ crossing: Crossing) async throws {
    let scene = try await MigrationScene(crossing)
    let guest = "mover"
    let before = try await scene.idleDescriptors()
    try await scene.hosts.lab(.a).startGuest(guest, mebibytes: Self.memory)
    try await scene.echo(guest, on: .a)
    let memory = try await scene.memory(of: guest, on: .a)
    #expect(memory.count == (Self.memory - 1) << 20)

    let result = try await scene.migrate(guest, from: .a)
    #expect(result.status == 0, "\(result.errors)")
    try await scene.expect(guest, on: .b)
    #expect(try await scene.memory(of: guest, on: .b) == memory)
    let statistics = try await scene.output(.b, "domjobinfo", guest, "--completed")
    #expect(statistics.contains("Memory remaining:") && statistics.contains("Total downtime:"))
    #expect(
      try await scene.idleDescriptors() == before, "the brokers hold nothing of the migration")

    try await scene.destroy(guest, on: .b)
    try await scene.end()
  }

  /// The number of migrations to the other host and back, each of which takes a second or two. VIRTBROKER_ROUND_TRIPS
  /// changes it.
  static let roundTrips =
    ProcessInfo.processInfo.environment["VIRTBROKER_ROUND_TRIPS"].flatMap { Int($0) } ?? 10

  @Test("a guest migrates there and back repeatedly", arguments: Crossing.crossed)
  func backAndForth(_ crossing: Crossing) async throws {
    let scene = try await MigrationScene(crossing)
    let guest = "commuter"
    try await scene.hosts.lab(.a).startGuest(guest, mebibytes: 16)
    let before = try await scene.idleDescriptors()
    for trip in 0..<Self.roundTrips {
      for host in Host.allCases {
        let result = try await scene.migrate(guest, from: host)
        try #require(result.status == 0, "trip \(trip) from \(host.name): \(result.errors)")
        try await scene.echo(guest, on: host.other, bytes: 500)
      }
    }
    try await scene.expect(guest, on: .a)
    #expect(try await scene.idleDescriptors() == before)
    try await scene.destroy(guest, on: .a)
    try await scene.end()
  }

  @Test("three guests migrate concurrently", arguments: Crossing.crossed)
  func three(_ crossing: Crossing) async throws {
    let scene = try await MigrationScene(crossing)
    let guests = ["tom", "dick", "harry"]
    for guest in guests {
      try await scene.hosts.lab(.a).startGuest(guest, mebibytes: Self.memory)
    }
    try await withThrowingTaskGroup(of: (String, CommandResult).self) { group in
      for guest in guests {
        // Slowly enough that the migrations overlap.
        group.addTask { (guest, try await scene.migrate(guest, from: .a, rate: 16)) }
      }
      for try await (guest, result) in group {
        #expect(result.status == 0, "\(guest): \(result.errors)")
      }
    }
    for guest in guests {
      try await scene.expect(guest, on: .b)
      try await scene.destroy(guest, on: .b)
    }
    try await scene.end()
  }

  @Test("a console on the same broker continues during a migration", arguments: Crossing.crossed)
  func besideAConsole(_ crossing: Crossing) async throws {
    let scene = try await MigrationScene(crossing)
    let (guest, neighbour) = ("loud", "neighbour")
    try await scene.hosts.lab(.b).startGuest(neighbour)
    try await scene.hosts.lab(.a).startGuest(guest, mebibytes: Self.memory)
    let user = try ConsoleUser(scene, at: neighbour, on: .b)
    let result = try await scene.migrate(guest, from: .a)
    #expect(result.status == 0, "\(result.errors)")
    let keys = try await user.end()
    #expect(keys > 0)
    try await scene.expect(guest, on: .b)
    for guest in [guest, neighbour] { try await scene.destroy(guest, on: .b) }
    try await scene.end()
  }
}

/// A client on a third machine that sends keys to a guest's console, each after the echo of the last.
final class ConsoleUser: Sendable {
  private let child: Child
  private let input: Int32
  private let output: Int32

  init(_ scene: MigrationScene, at guest: String, on host: Host) throws {
    let (stdin, stdout) = (try Pipe(), try Pipe())
    child = try Child(
      scene.hosts.entrance(nil) + [
        "/usr/bin/python3", "\(Lab.folder)/python/keystrokes.py", MigrationScene.uri(host), guest,
      ], input: stdin.reader, output: stdout.writer, errors: 2,
      environment: ["PYTHONDONTWRITEBYTECODE": "1"])
    (input, output) = (stdin.takeWriter(), stdout.takeReader())
  }

  deinit { close(output) }

  /// Stops sending. Returns the number of keys, which all have been echoed.
  func end() async throws -> Int {
    close(input)
    let status = try await blocking { [child] in child.wait(limit: .seconds(30)) }
    let said = String(decoding: Pipe.read(output), as: UTF8.self)
    guard status == 0, let count = said.split(separator: " ").first.flatMap({ Int($0) }) else {
      throw Trouble("the user ended with \(status.map(String.init) ?? "nothing"): \(said)")
    }
    return count
  }
}
