// Calls out of order get libvirtd's own error messages.
import Foundation
import Streams
import Testing

/// A sequence of calls; the last reply or all replies are compared.
struct Misstep: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let steps: @Sendable (RawClient) throws -> [RawPacket]

  init(_ name: String, _ steps: @escaping @Sendable (RawClient) throws -> [RawPacket]) {
    testDescription = name
    self.steps = steps
  }

  private static let open = ConnectOpenArguments(name: "qemu:///system", flags: 0)

  static let all: [Misstep] =
    [
      Misstep("every other procedure before CONNECT_OPEN") { client in
        // Procedures up to 443 exist in the oldest libvirt that the tests use.
        try (3...443).filter { ProcedureTable.find(program: Program.remote, procedure: $0) != nil }
          .filter { ![60, 66, 67, 68, 69, 70].contains($0) }
          .map { procedure in
            // Enough zeros for any arguments, because libvirtd decodes them before it checks for an open connection.
            let call = client.header(procedure)
            return try client.call(call, RawClient.packet(call, [UInt8](repeating: 0, count: 600)))
          }
      }
    ]
    + [
      Misstep("CONNECT_SET_IDENTITY before CONNECT_OPEN") {
        [try $0.call(Remote.connectSetIdentity, SetIdentityArguments(parameters: []))]
      },
      Misstep("a QEMU program's call before CONNECT_OPEN") { client in
        let call = client.header(1, program: Program.qemu)
        return [try client.call(call, RawClient.packet(call, [UInt8](repeating: 0, count: 64)))]
      },
      Misstep("an unknown procedure before CONNECT_OPEN") { [try $0.call(100_000)] },
      Misstep("an event's number before CONNECT_OPEN") { [try $0.call(318)] },
      Misstep("an unknown program before anything") { [try $0.call(1, program: 77)] },
    ]
    + ([1, 8, 9, 14, 15, 99] as [Int32]).map { feature in
      Misstep("feature \(feature) before CONNECT_OPEN") {
        [try $0.call(Remote.connectSupportsFeature, FeatureArguments(feature: feature))]
      }
    }
    + [
      Misstep("keepalive before CONNECT_OPEN") {
        [try $0.call(Remote.connectSupportsFeature, FeatureArguments(feature: 10))]
      },
      Misstep("AUTH_LIST again and again") { client in
        try (0..<3).map { _ in try client.call(Remote.authList) } + [client.call(59)]
      },
      Misstep("CONNECT_OPEN without AUTH_LIST") { [try $0.call(Remote.connectOpen, open)] },
      Misstep("SASL where none is offered") { [try $0.call(Remote.authSASLInit)] },
      Misstep("polkit where none is offered") { [try $0.call(Remote.authPolkit)] },
      Misstep("a second CONNECT_OPEN") { client in
        try client.open()
        return [try client.call(Remote.connectOpen, open)]
      },
      Misstep("a second CONNECT_OPEN of something else") { client in
        try client.open()
        return [
          try client.call(Remote.connectOpen, ConnectOpenArguments(name: "bogus:///", flags: 1))
        ]
      },
      Misstep("CONNECT_OPEN of a path that is none of the driver's, then a good one") { client in
        [
          try client.call(
            Remote.connectOpen, ConnectOpenArguments(name: "qemu:///nonsense", flags: 0)),
          try client.call(59),
          try client.call(Remote.connectOpen, open),
          try client.call(59),
        ]
      },
      Misstep("an identity with a field that is unknown") { client in
        try client.open()
        let parameters = [TypedParameter("shoe-size", .string("44"))]
        return [
          try client.call(Remote.connectSetIdentity, SetIdentityArguments(parameters: parameters))
        ]
      },
      Misstep("an identity with a field of another type") { client in
        try client.open()
        let parameters = [TypedParameter("user-name", .int(1))]
        return [
          try client.call(Remote.connectSetIdentity, SetIdentityArguments(parameters: parameters))
        ]
      },
      Misstep("an identity with too many fields") { client in
        try client.open()
        let parameters = (0..<21).map { _ in TypedParameter("user-name", .string("x")) }
        return [
          try client.call(Remote.connectSetIdentity, SetIdentityArguments(parameters: parameters))
        ]
      },
      Misstep("CONNECT_CLOSE before CONNECT_OPEN, which ends the connection") { client in
        [try client.call(Remote.connectClose)] + (try client.awaitEnd())
      },
      Misstep("CONNECT_CLOSE, which ends the connection") { client in
        try client.open()
        return [try client.call(Remote.connectClose)] + (try client.awaitEnd())
      },
    ]
}

@Suite("Calls out of order", Lab.isPossible)
struct HandshakeErrorTests {
  @Test("they get the same replies as from libvirtd", arguments: Way.allCases)
  func sameAsDirect(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      for misstep in Misstep.all {
        let direct = try misstep.steps(lab.client()).map(\.description)
        let brokered = try misstep.steps(broker.client(way)).map(\.description)
        let differing = zip(brokered, direct).filter { $0 != $1 }
        #expect(
          differing.isEmpty,
          "\(misstep.testDescription): \(differing.prefix(3)), \(differing.count) in all")
        #expect(brokered.count == direct.count && !direct.isEmpty)
      }
    }
    try await broker.stop()
  }

  @Test("a refused second CONNECT_OPEN does not change the connection", arguments: Way.allCases)
  func secondOpen(way: Way) async throws {
    let lab = try await Lab.shared(.mono)
    let broker = try await BrokerProcess.start(in: lab)
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let before = try client.call(59)
      let second = try client.call(
        Remote.connectOpen, ConnectOpenArguments(name: "qemu:///system", flags: 0))
      #expect(second.error?.message == "internal error: connection already open")
      // libvirtd itself loses its connection here, by accident.
      let after = try client.call(59)
      #expect(after.header.status == .ok && after.body == before.body)
    }
    try await broker.stop()
  }
}
