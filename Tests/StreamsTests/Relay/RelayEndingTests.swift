// A stream that is ended from outside, in every state it can be in.
import Testing

@testable import Streams

@Suite("relay: ending a stream")
struct RelayEndingTests {
  private static let reason = RemoteError(.operationFailed, domain: .streams, "enough")
  private static let upload = SimulatedBackend.upload
  private static let download = SimulatedBackend.download

  private func opened(_ procedure: Int32) -> Desk {
    let desk = Desk()
    desk.fromClient(call(1, procedure))
    desk.fromBackend(0, reply(1, procedure))
    _ = desk.toClient()
    _ = desk.toBackend()
    return desk
  }

  private func end(_ desk: Desk, serial: UInt32 = 1) -> Bool {
    defer { desk.relay.settle() }
    return desk.relay.endStream(serial: serial, telling: Self.reason)
  }

  @Test(
    "the client gets the error, the daemon an abort, and both may still send",
    arguments: [
      upload, download,
    ])
  func open(procedure: Int32) {
    let desk = opened(procedure)
    #expect(end(desk))
    let told = desk.toClient()
    #expect(told.map(\.header.kind) == [.stream])
    #expect(told.first?.header.procedure == procedure)
    #expect(told.first?.error == Self.reason)
    let aborted = desk.toBackend()
    #expect(
      aborted.map(\.header) == [
        PacketHeader(procedure: procedure, kind: .stream, serial: 1, status: .error)
      ])
    #expect(desk.relay.streamCount == 0)

    // What either had on its way, the confirmation of the abort, and the client's own end of it.
    desk.fromClient(
      stream(1, procedure, .continue, [1]), stream(1, procedure, .ok), stream(1, procedure, .error))
    desk.fromBackend(0, stream(1, procedure, .continue, [2]), stream(1, procedure, .ok))
    #expect(desk.toClient().isEmpty)
    #expect(desk.toBackend().isEmpty)
    #expect(desk.relay.clientEnd == nil)
    #expect(desk.ended.isEmpty)
    #expect(!end(desk), "it cannot be ended twice")

    desk.fromClient(call(2))
    desk.fromBackend(0, reply(2))
    #expect(desk.toClient().map(\.serial) == [2], "the connection goes on")
  }

  @Test(
    "one whose opening is not answered yet: the reply still comes, the daemon is told behind it")
  func opening() {
    let desk = Desk()
    desk.fromClient(call(1, Self.download))
    _ = desk.toBackend()
    #expect(end(desk))
    #expect(desk.toClient().map(\.header.kind) == [.stream])
    #expect(desk.toBackend().isEmpty, "there is nothing to abort yet")
    #expect(!end(desk))
    desk.fromBackend(
      0, reply(1, Self.download), stream(1, Self.download, .continue, [1, 2, 3]))
    #expect(desk.toClient().map(\.header.kind) == [.reply])
    #expect(desk.toBackend().map(\.header.status) == [.error])
    #expect(desk.relay.callsUnderWay.isEmpty)
  }

  @Test("one whose opening is refused then needs no abort")
  func refused() {
    let desk = Desk()
    desk.fromClient(call(1, Self.download))
    _ = desk.toBackend()
    #expect(end(desk))
    desk.fromBackend(0, reply(1, Self.download, .error))
    #expect(desk.toClient().map(\.header.kind) == [.stream, .reply])
    #expect(desk.toBackend().isEmpty)
    #expect(desk.relay.callsUnderWay.isEmpty)
  }

  @Test("in the middle of a packet that is cut through nothing comes between its parts")
  func cutThrough() {
    let desk = Desk(largestWhole: 100)
    desk.fromClient(call(1, Self.download), call(2, Self.upload))
    desk.fromBackend(0, reply(1, Self.download), reply(2, Self.upload))
    _ = desk.toClient()
    _ = desk.toBackend()
    let down = stream(1, Self.download, .continue, [UInt8](repeating: 1, count: 400))
    let up = stream(2, Self.upload, .continue, [UInt8](repeating: 2, count: 400))
    desk.fromBackend(0, Array(down.prefix(200)))
    desk.fromClient(Array(up.prefix(200)))
    #expect(end(desk, serial: 1))
    #expect(end(desk, serial: 2))
    desk.fromBackend(0, Array(down.dropFirst(200)))
    desk.fromClient(Array(up.dropFirst(200)))
    let toClient = desk.toClient()
    #expect(toClient.map(\.payload.count).first == 400)
    #expect(Set(toClient.dropFirst().map(\.serial)) == [1, 2])
    #expect(toClient.count == 3)
    let toBackend = desk.toBackend()
    #expect(toBackend.map(\.payload.count).first == 400)
    #expect(toBackend.dropFirst().allSatisfy { $0.header.status == .error })
    #expect(toBackend.count == 3)
  }

  @Test("a call without a stream, or a stream of another client, is not ended")
  func none() {
    let desk = opened(Self.download)
    desk.fromClient(call(7))
    #expect(!end(desk, serial: 7))
    #expect(!end(desk, serial: 8))
    #expect(desk.relay.streamCount == 1)
    desk.relay.clear()
  }
}
