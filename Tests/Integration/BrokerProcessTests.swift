// Start and stop of the broker, as in every other integration test.
import Testing

@Suite("The built broker", Lab.isPossible, .inTurn)
struct BrokerProcessTests {
  @Test(
    "it serves its UNIX sockets and its TCP port, and stops at a signal",
    arguments: Lab.Layout.allCases)
  func startAndStop(_ layout: Lab.Layout) async throws {
    let lab = try await Lab.shared(layout)
    let broker = try await BrokerProcess.start(in: lab)
    let direct = try await virshOutput(lab.directURI(), "hostname")
    #expect(try await virshOutput(broker.unixURI(), "hostname") == direct)
    #expect(try await virshOutput(broker.unixURI(readOnly: true), "hostname") == direct)
    #expect(try await virshOutput(broker.tcpURI(), "hostname") == direct)
    #expect(broker.residentBytes > 0 && broker.descriptorCount > 0)
    try await broker.stop()
    #expect(try await virsh(broker.unixURI(), ["hostname"]).status == 1)
  }
}
