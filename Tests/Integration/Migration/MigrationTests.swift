// Tunnelled live migration, peer to peer, with a broker in front of each host's daemons.
import Foundation
import Testing

@Suite("A guest moves through the broker to another host", .serialized, Lab.isPossible, .inTurn)
struct MigrationTests {
  /// Mebibytes of a guest where it matters only that they cannot be packed.
  static let memory = 32

  @Test(
    "it echoes there with every byte of its memory, and nothing of it is left here",
    arguments: Crossing.all)
  func moves(_ crossing: Crossing) async throws {
    let ferry = try await Ferry(crossing)
    let guest = "mover"
    let before = try await ferry.idleDescriptors()
    try await ferry.hosts.lab(.a).startGuest(guest, mebibytes: Self.memory)
    try await ferry.echo(guest, on: .a)
    let memory = try await ferry.memory(of: guest, on: .a)
    #expect(memory.count == (Self.memory - 1) << 20)

    let result = try await ferry.migrate(guest, from: .a)
    #expect(result.status == 0, "\(result.errors)")
    try await ferry.expect(guest, on: .b)
    #expect(try await ferry.memory(of: guest, on: .b) == memory)
    let statistics = try await ferry.output(.b, "domjobinfo", guest, "--completed")
    #expect(statistics.contains("Memory remaining:") && statistics.contains("Total downtime:"))
    #expect(
      try await ferry.idleDescriptors() == before, "the brokers hold nothing of the migration")

    try await ferry.destroy(guest, on: .b)
    try await ferry.end()
  }

  /// How often a guest goes to the other host and comes back, a second or two each way.
  /// VIRTBROKER_ROUND_TRIPS changes it.
  static let roundTrips =
    ProcessInfo.processInfo.environment["VIRTBROKER_ROUND_TRIPS"].flatMap { Int($0) } ?? 10

  @Test("and back, again and again", arguments: Crossing.crossed)
  func backAndForth(_ crossing: Crossing) async throws {
    let ferry = try await Ferry(crossing)
    let guest = "commuter"
    try await ferry.hosts.lab(.a).startGuest(guest, mebibytes: 16)
    let before = try await ferry.idleDescriptors()
    for trip in 0..<Self.roundTrips {
      for host in Host.allCases {
        let result = try await ferry.migrate(guest, from: host)
        try #require(result.status == 0, "trip \(trip) from \(host.name): \(result.errors)")
        try await ferry.echo(guest, on: host.other, bytes: 500)
      }
    }
    try await ferry.expect(guest, on: .a)
    #expect(try await ferry.idleDescriptors() == before)
    try await ferry.destroy(guest, on: .a)
    try await ferry.end()
  }

  @Test("three at once", arguments: Crossing.crossed)
  func three(_ crossing: Crossing) async throws {
    let ferry = try await Ferry(crossing)
    let guests = ["tom", "dick", "harry"]
    for guest in guests {
      try await ferry.hosts.lab(.a).startGuest(guest, mebibytes: Self.memory)
    }
    try await withThrowingTaskGroup(of: (String, CommandResult).self) { group in
      for guest in guests {
        // Slow enough that each is under way while the others are.
        group.addTask { (guest, try await ferry.migrate(guest, from: .a, rate: 16)) }
      }
      for try await (guest, result) in group {
        #expect(result.status == 0, "\(guest): \(result.errors)")
      }
    }
    for guest in guests {
      try await ferry.expect(guest, on: .b)
      try await ferry.destroy(guest, on: .b)
    }
    try await ferry.end()
  }

  @Test("beside it a console on the same broker goes on", arguments: Crossing.crossed)
  func besideAConsole(_ crossing: Crossing) async throws {
    let ferry = try await Ferry(crossing)
    let (guest, neighbour) = ("loud", "neighbour")
    try await ferry.hosts.lab(.b).startGuest(neighbour)
    try await ferry.hosts.lab(.a).startGuest(guest, mebibytes: Self.memory)
    let typist = try Typist(ferry, at: neighbour, on: .b)
    let result = try await ferry.migrate(guest, from: .a)
    #expect(result.status == 0, "\(result.errors)")
    let keys = try await typist.end()
    #expect(keys > 0)
    try await ferry.expect(guest, on: .b)
    for guest in [guest, neighbour] { try await ferry.destroy(guest, on: .b) }
    try await ferry.end()
  }
}

/// Somebody on a third machine who types into a guest's console, one key after the other's echo.
final class Typist: Sendable {
  private let child: Child
  private let input: Int32
  private let output: Int32

  init(_ ferry: Ferry, at guest: String, on host: Host) throws {
    let (stdin, stdout) = (try Pipe(), try Pipe())
    child = try Child(
      ferry.hosts.entrance(nil) + [
        "/usr/bin/python3", "\(Lab.folder)/python/keystrokes.py", Ferry.uri(host), guest,
      ], input: stdin.reader, output: stdout.writer, errors: 2,
      environment: ["PYTHONDONTWRITEBYTECODE": "1"])
    (input, output) = (stdin.takeWriter(), stdout.takeReader())
  }

  deinit { close(output) }

  /// Ends the typing; how many keys came back, which all have.
  func end() async throws -> Int {
    close(input)
    let status = try await blocking { [child] in child.wait(limit: .seconds(30)) }
    let said = String(decoding: Pipe.read(output), as: UTF8.self)
    guard status == 0, let count = said.split(separator: " ").first.flatMap({ Int($0) }) else {
      throw Trouble("the typist ended with \(status.map(String.init) ?? "nothing"): \(said)")
    }
    return count
  }
}
