// The same results directly and through the broker: output, error text and exit status.
import Testing

@Suite("virsh gives the same results with and without the broker", Lab.isPossible)
struct ParityTests {
  // The commands list and define objects, so each layout has a lab of its own and its scenarios run one after
  // another; the two layouts run concurrently.
  @Suite("with a monolithic libvirtd", .serialized)
  struct Monolithic {
    @Test("virsh commands", arguments: Scenario.all)
    func same(_ scenario: Scenario) async throws {
      try await ParityTests.compare(scenario, .mono)
    }

    @Test("virsh commands for the test driver")
    func testDriver() async throws {
      let (lab, broker, directory) = try await ParityTests.place(.mono)
      try await ParityTests.compare(
        .testDriver, directory,
        direct: { _ in lab.directURI("test", path: "/default") },
        ways: [
          "UNIX": broker.unixURI("test", path: "/default"),
          "TCP": broker.tcpURI("test", path: "/default"),
        ])
    }
  }

  /// The direct connection is to the daemon of the driver; the broker gets all commands on one qemu connection.
  @Suite("with modular daemons", .serialized)
  struct Modular {
    @Test("virsh commands", arguments: Scenario.all)
    func same(_ scenario: Scenario) async throws {
      try await ParityTests.compare(scenario, .modular)
    }

    @Test("virsh commands on a connection to one driver only")
    func ownScheme() async throws {
      let (lab, broker, directory) = try await ParityTests.place(.modular)
      for scenario in Scenario.onOwnURI {
        let driver = try #require(scenario.lines.first?.driver)
        try await ParityTests.compare(
          scenario, directory, direct: { lab.directURI($0) },
          ways: ["UNIX": broker.unixURI(driver), "TCP": broker.tcpURI(driver)])
      }
    }
  }

  private static func compare(_ scenario: Scenario, _ layout: Lab.Layout) async throws {
    let (lab, broker, directory) = try await place(layout)
    try await compare(
      scenario, directory, direct: { lab.directURI($0) },
      ways: ["UNIX": broker.unixURI(), "TCP": broker.tcpURI()])
  }

  private static func compare(
    _ scenario: Scenario, _ directory: String, direct: (String) -> String, ways: [String: String]
  ) async throws {
    let expected = try await scenario.run(in: directory, uri: direct)
    for (way, uri) in ways {
      let results = try await scenario.run(in: directory) { _ in uri }
      for (line, (result, expected)) in zip(scenario.lines, zip(results, expected)) {
        #expect(result == expected, "virsh \(line.words.joined(separator: " ")), over \(way)")
      }
    }
  }

  /// A lab with the guest `idle`, a broker in front of it, and the files that the commands name.
  private static func place(_ layout: Lab.Layout) async throws -> (Lab, BrokerProcess, String) {
    let lab = try await Lab.shared(layout, for: "parity")
    try await lab.guest("idle")
    let broker = try await lab.sharedBroker()
    let directory = lab.directory + "/files"
    try await Fixtures.write(to: directory)
    return (lab, broker, directory)
  }
}
