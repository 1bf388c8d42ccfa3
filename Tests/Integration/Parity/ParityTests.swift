// The same answers directly and through the broker: output, error text and exit status.
import Testing

@Suite("Through the broker virsh says what it says without it", Lab.isPossible)
struct ParityTests {
  // The command lines list and define things, so each layout has a lab to itself, and takes its
  // scenarios one after the other; the two layouts run side by side.
  @Suite("with a monolithic libvirtd", .serialized)
  struct Monolithic {
    @Test("about", arguments: Scenario.all)
    func same(_ scenario: Scenario) async throws {
      try await ParityTests.compare(scenario, .mono)
    }

    @Test("about the test driver")
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

  /// Here the direct answer is that of the daemon that serves the driver; the broker is asked for
  /// everything on one qemu connection.
  @Suite("with modular daemons", .serialized)
  struct Modular {
    @Test("about", arguments: Scenario.all)
    func same(_ scenario: Scenario) async throws {
      try await ParityTests.compare(scenario, .modular)
    }

    @Test("on a connection to one driver alone")
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

  /// A lab with the guest `idle`, a broker in front of it, and the files the command lines name.
  private static func place(_ layout: Lab.Layout) async throws -> (Lab, BrokerProcess, String) {
    let lab = try await Lab.shared(layout, for: "parity")
    try await lab.guest("idle")
    let broker = try await lab.sharedBroker()
    let directory = lab.directory + "/files"
    try await Fixtures.write(to: directory)
    return (lab, broker, directory)
  }
}
