// Where a test connects: the transport to the broker, and the daemons behind it.
import Testing

/// The transport of a client.
enum Way: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case unix = "the broker's UNIX socket"
  case tcp = "the broker's TCP port"
  var testDescription: String { rawValue }
}

/// A combination of a client's transport and the layout behind the broker.
struct Place: Sendable, CustomTestStringConvertible {
  let layout: Lab.Layout
  let way: Way
  var testDescription: String { "\(way) to \(layout)" }

  static let all = Lab.Layout.allCases.flatMap { layout in
    Way.allCases.map { Place(layout: layout, way: $0) }
  }

  /// Each transport and each layout once, for tests that take a guest several seconds.
  static let crossed = [Place(layout: .mono, way: .unix), Place(layout: .modular, way: .tcp)]

  /// The shared lab and the shared broker in front of it.
  func ready() async throws -> (Lab, BrokerProcess) {
    let lab = try await Lab.shared(layout)
    return (lab, try await lab.sharedBroker())
  }
}
