// The harness itself: the assumptions of every other integration test.
import Foundation
import Glibc
import Testing

@Suite("The lab", Lab.isPossible, .inTurn)
struct LabTests {
  @Test("a monolithic daemon serves every driver on one connection")
  func mono() async throws {
    let lab = try await Lab.shared(.mono)
    for list in ["list", "pool-list", "net-list", "nodedev-list", "secret-list", "nwfilter-list"] {
      try await virshOutput(lab.directURI(), list)
    }
  }

  @Test("a modular daemon serves its own driver and no other")
  func modular() async throws {
    let lab = try await Lab.shared(.modular)
    let lists = [
      "qemu": "list", "storage": "pool-list", "network": "net-list", "nodedev": "nodedev-list",
      "secret": "secret-list", "nwfilter": "nwfilter-list", "interface": "iface-list",
    ]
    for (driver, list) in lists { try await virshOutput(lab.directURI(driver), list) }
    let refused = try await virsh(lab.directURI(), ["pool-list"])
    #expect(refused.status == 1)
    #expect(refused.errors.contains("not supported by the connection driver"))
  }

  @Test("a killed daemon can be started again, and the others are not affected")
  func restart() async throws {
    let lab = try await Lab.shared(.modular, for: "restart")
    let before = try await lab.pid(of: "virtqemud")
    try await lab.kill("virtstoraged")
    #expect(try await virsh(lab.directURI("storage"), ["pool-list"]).status == 1)
    try await lab.start("virtstoraged")
    try await virshOutput(lab.directURI("storage"), "pool-list")
    #expect(try await lab.pid(of: "virtqemud") == before)
  }
}

@Suite("Running programs")
struct CommandTests {
  @Test("output, errors and status are returned, and input is passed on")
  func plain() async throws {
    var command = Command("sh", "-c", "cat; echo trouble >&2; exit 3")
    command.input = String(repeating: "some input\n", count: 50_000)
    let result = try await command.run()
    #expect(
      result == CommandResult(status: 3, output: command.input, errors: "trouble\n"))
  }

  @Test("a program that exceeds its time limit is killed and named")
  func limit() async throws {
    var command = Command("sleep", "1000")
    command.limit = .milliseconds(100)
    await #expect { try await command.run() } throws: { "\($0)".contains("sleep 1000") }
  }

  @Test("the error of a program that a signal killed says so")
  func died() async throws {
    #expect(try await Command("sh", "-c", "kill -TERM $$").run().status == 128 + SIGTERM)
  }
}
