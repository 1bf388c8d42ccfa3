// A stream that the broker ends, in every state of the stream.
import Testing

@testable import Simulator
@testable import Streams

@Suite("relay: ending a stream")
struct RelayEndingTests {
  private static let reason = RemoteError(.operationFailed, domain: .streams, "enough")
  private static let upload = SimulatedBackend.upload
  private static let download = SimulatedBackend.download

  private func opened(_ procedure: Int32) -> RelayHarness {
    let harness = RelayHarness()
    harness.fromClient(call(1, procedure))
    harness.fromBackend(0, reply(1, procedure))
    _ = harness.toClient()
    _ = harness.toBackend()
    return harness
  }

  private func end(_ harness: RelayHarness, serial: UInt32 = 1) -> Bool {
    defer { harness.relay.settle() }
    return harness.relay.endStream(serial: serial, telling: Self.reason)
  }

  @Test(
    "the client gets the error, the daemon an abort, and later packets of either are dropped",
    arguments: [
      upload, download,
    ])
  func open(procedure: Int32) {
    let harness = opened(procedure)
    #expect(end(harness))
    let told = harness.toClient()
    #expect(told.map(\.header.kind) == [.stream])
    #expect(told.first?.header.procedure == procedure)
    #expect(told.first?.error == Self.reason)
    let aborted = harness.toBackend()
    #expect(
      aborted.map(\.header) == [
        PacketHeader(procedure: procedure, kind: .stream, serial: 1, status: .error)
      ])
    #expect(harness.relay.streamCount == 0)

    // Packets under way from both sides, the confirmation of the abort, and the client's own end of the stream.
    harness.fromClient(
      stream(1, procedure, .continue, [1]), stream(1, procedure, .ok), stream(1, procedure, .error))
    harness.fromBackend(0, stream(1, procedure, .continue, [2]), stream(1, procedure, .ok))
    #expect(harness.toClient().isEmpty)
    #expect(harness.toBackend().isEmpty)
    #expect(harness.relay.clientEnd == nil)
    #expect(harness.ended.isEmpty)
    #expect(!end(harness), "it cannot be ended twice")

    harness.fromClient(call(2))
    harness.fromBackend(0, reply(2))
    #expect(harness.toClient().map(\.serial) == [2], "the connection goes on")
  }

  @Test(
    "before the reply to its opening call: the reply still arrives, and the daemon gets an abort after it"
  )
  func opening() {
    let harness = RelayHarness()
    harness.fromClient(call(1, Self.download))
    _ = harness.toBackend()
    #expect(end(harness))
    #expect(harness.toClient().map(\.header.kind) == [.stream])
    #expect(harness.toBackend().isEmpty, "there is nothing to abort yet")
    #expect(!end(harness))
    harness.fromBackend(
      0, reply(1, Self.download), stream(1, Self.download, .continue, [1, 2, 3]))
    #expect(harness.toClient().map(\.header.kind) == [.reply])
    #expect(harness.toBackend().map(\.header.status) == [.error])
    #expect(harness.relay.callsUnderWay.isEmpty)
  }

  @Test("a stream whose opening call is then refused needs no abort")
  func refused() {
    let harness = RelayHarness()
    harness.fromClient(call(1, Self.download))
    _ = harness.toBackend()
    #expect(end(harness))
    harness.fromBackend(0, reply(1, Self.download, .error))
    #expect(harness.toClient().map(\.header.kind) == [.stream, .reply])
    #expect(harness.toBackend().isEmpty)
    #expect(harness.relay.callsUnderWay.isEmpty)
  }

  @Test("nothing is sent between the parts of a packet that is cut through")
  func cutThrough() {
    let harness = RelayHarness(largestWhole: 100)
    harness.fromClient(call(1, Self.download), call(2, Self.upload))
    harness.fromBackend(0, reply(1, Self.download), reply(2, Self.upload))
    _ = harness.toClient()
    _ = harness.toBackend()
    let down = stream(1, Self.download, .continue, [UInt8](repeating: 1, count: 400))
    let up = stream(2, Self.upload, .continue, [UInt8](repeating: 2, count: 400))
    harness.fromBackend(0, Array(down.prefix(200)))
    harness.fromClient(Array(up.prefix(200)))
    #expect(end(harness, serial: 1))
    #expect(end(harness, serial: 2))
    harness.fromBackend(0, Array(down.dropFirst(200)))
    harness.fromClient(Array(up.dropFirst(200)))
    let toClient = harness.toClient()
    #expect(toClient.map(\.payload.count).first == 400)
    #expect(Set(toClient.dropFirst().map(\.serial)) == [1, 2])
    #expect(toClient.count == 3)
    let toBackend = harness.toBackend()
    #expect(toBackend.map(\.payload.count).first == 400)
    #expect(toBackend.dropFirst().allSatisfy { $0.header.status == .error })
    #expect(toBackend.count == 3)
  }

  @Test("a call without a stream, and a stream of another client, are not ended")
  func none() {
    let harness = opened(Self.download)
    harness.fromClient(call(7))
    #expect(!end(harness, serial: 7))
    #expect(!end(harness, serial: 8))
    #expect(harness.relay.streamCount == 1)
    harness.relay.clear()
  }
}
