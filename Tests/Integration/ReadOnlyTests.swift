// Read-only clients: what they can see, and libvirt's own refusals of the rest.
import Testing

@Suite("Read-only clients", Lab.isPossible, .inTurn)
struct ReadOnlyTests {
  /// How a client becomes read-only: by its socket, or by the flag of CONNECT_OPEN.
  enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case socket = "the read-only socket"
    case unix = "asking for it over UNIX"
    case tcp = "asking for it over TCP"
    var testDescription: String { rawValue }
  }

  static let allowed = Scenario(
    "allowed",
    """
    qemu domstate looked-at
    qemu dumpxml looked-at
    storage pool-info looked-at
    storage vol-list looked-at
    nodedev nodedev-dumpxml computer
    """)

  static let refused = Scenario(
    "refused",
    """
    qemu destroy looked-at
    qemu define /dev/null
    qemu dumpxml --security-info looked-at
    qemu qemu-monitor-command looked-at --hmp info
    qemu save looked-at /nowhere
    storage pool-destroy looked-at
    storage vol-create-as looked-at v 1k
    storage pool-create-as more dir --target /nowhere
    network net-define /dev/null
    secret secret-define /dev/null
    nwfilter nwfilter-define /dev/null
    """)

  @Test(
    "virsh gets the same output and the same refusals as without the broker",
    arguments: Lab.Layout.allCases, Kind.allCases)
  func lines(_ layout: Lab.Layout, _ kind: Kind) async throws {
    let (lab, broker) = try await prepared(layout)
    let uri =
      switch kind {
      case .socket: broker.unixURI(readOnly: true)
      case .unix: broker.unixURI()
      case .tcp: broker.tcpURI()
      }
    let option = kind == .socket ? [] : ["-r"]
    for scenario in [Self.allowed, Self.refused] {
      let expected = try await scenario.run(in: "", options: option) {
        lab.directURI($0, readOnly: kind == .socket)
      }
      let results = try await scenario.run(in: "", options: option) { _ in uri }
      for (line, (result, expected)) in zip(scenario.lines, zip(results, expected)) {
        let line = line.words.joined(separator: " ")
        #expect(result == expected, "virsh \(line)")
        #expect(result.status == (scenario.name == "allowed" ? 0 : 1), "virsh \(line)")
        if scenario.name == "refused" {
          #expect(result.errors.contains("error: operation forbidden: "), "virsh \(line)")
        }
      }
    }
  }

  /// Procedures that take XML and change something, by the driver that serves them.
  static let changes = [
    ("qemu", 10), ("network", 40), ("storage", 76), ("nodedev", 123), ("interface", 131),
    ("secret", 142), ("nwfilter", 180),
  ]

  // virsh itself refuses such calls after a read-only open. Without that check the daemon refuses them, if it knows
  // that the connection is read-only.
  @Test(
    "the daemon refuses every change by a read-only client, also calls that the client's library does not refuse",
    arguments: Place.all)
  func rawCalls(_ place: Place) async throws {
    let (lab, broker) = try await prepared(place.layout)
    var expected = ""
    for (driver, procedure) in Self.changes {
      expected += try await forbidden(
        lab.socket(driver), lab.layout == .mono ? "qemu" : driver, [procedure])
    }
    let endpoint = place.way == .unix ? broker.directory + "/libvirt-sock" : "\(broker.port)"
    let result = try await forbidden(endpoint, "qemu", Self.changes.map(\.1))
    #expect(result == expected)
    let lines = result.split(separator: "\n")
    #expect(lines.count == Self.changes.count)
    #expect(lines.allSatisfy { $0.contains("read only access prevents") })
  }

  private func forbidden(_ endpoint: String, _ scheme: String, _ procedures: [Int]) async throws
    -> String
  {
    try await python(
      "forbidden.py", [endpoint, "\(scheme):///system"] + procedures.map(String.init))
  }

  private func prepared(_ layout: Lab.Layout) async throws -> (Lab, BrokerProcess) {
    let (lab, broker) = try await Place(layout: layout, way: .unix).ready()
    try await lab.guest("looked-at")
    try await lab.pool("looked-at")
    return (lab, broker)
  }
}
