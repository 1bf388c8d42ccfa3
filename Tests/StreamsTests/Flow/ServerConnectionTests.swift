// A connection whose calls the broker itself answers at once.
import Testing

@testable import Simulator
@testable import Streams

@Suite("server connection")
struct ServerConnectionTests {
  /// Answers each call with a given number of bytes.
  private final class TestOwner: ServerConnectionOwner {
    let socket = PiecedTransport()
    let pool = SegmentPool()
    private(set) var heard: [(header: PacketHeader, body: [UInt8])] = []
    var answerBytes = 0
    private var made: ServerConnection?
    var connection: ServerConnection {
      guard let made else { preconditionFailure("made with the owner") }
      return made
    }

    init() {
      socket.carriesDescriptors = false
      made = ServerConnection(over: socket, owner: self, pool: pool)
    }

    func answer(_ call: PacketHeader, body: [UInt8]) {
      heard.append((call, body))
      connection.reply(
        Packets.reply(
          answering: call, AdminServer(name: String(repeating: "x", count: answerBytes))))
    }

    func supply(_ bytes: some Sequence<UInt8>) {
      socket.supply(Array(bytes)[...])
      if connection.interest.contains(.read) { connection.ready(.read) }
    }

    func answers() -> [Arrived] { Arrived.read(socket.takeBytes()) }
  }

  @Test("calls are answered in order, wherever reads cut them", arguments: 1...64)
  func cut(size: Int) {
    let owner = TestOwner()
    let bytes =
      call(1, 5, [1, 2, 3, 4]) + call(2, 6) + call(3, 7, [UInt8](repeating: 9, count: 40))
    var rest = bytes[...]
    while !rest.isEmpty {
      owner.supply(rest.prefix(size))
      rest = rest.dropFirst(size)
    }
    #expect(owner.heard.map(\.header.serial) == [1, 2, 3])
    #expect(owner.heard.map(\.body.count) == [4, 0, 40])
    #expect(owner.answers().map(\.serial) == [1, 2, 3])
    #expect(owner.pool.heldCount == 0, "an idle connection holds no buffer")
  }

  @Test(
    "a PING is answered and shows that the peer supports keepalive; other such packets are ignored")
  func keepAlive() {
    let owner = TestOwner()
    owner.supply(reply(1) + stream(2, 209, .continue, [1]) + event(3))
    #expect(!owner.connection.knowsKeepAlive)
    owner.supply(ping)
    #expect(owner.connection.knowsKeepAlive)
    #expect(owner.answers().map(\.header.procedure) == [KeepAliveProcedure.pong])
    #expect(owner.heard.isEmpty)
    #expect(owner.connection.end == nil)
  }

  @Test("a call of the kind with descriptors that has none is an ordinary call")
  func descriptors() {
    let owner = TestOwner()
    let header = PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1)
    owner.supply(Stamp.packet(header, [0, 0, 0, 0, 5, 6, 7, 8]))
    #expect(owner.heard.map(\.body) == [[5, 6, 7, 8]])
    owner.supply(Stamp.packet(header, [0, 0, 0, 1]))
    #expect(owner.connection.end != nil, "and one that does ends the connection")
  }

  @Test("a peer that does not read its replies is not read until the replies are sent")
  func congestion() {
    let owner = TestOwner()
    owner.answerBytes = 40_000
    owner.socket.room = 0
    for serial: UInt32 in 1...4 { owner.supply(call(serial)) }
    #expect(owner.heard.count == 2, "beyond the mark nothing is read")
    #expect(owner.connection.interest == .write)
    owner.socket.room = .max
    owner.connection.ready(.write)
    // A read that does not fill its space is the last of the turn; the event loop reports further bytes.
    for count in 3...4 {
      #expect(owner.connection.interest == .read)
      owner.connection.ready(.read)
      #expect(owner.heard.count == count)
    }
    #expect(owner.answers().map(\.serial) == [1, 2, 3, 4])
    owner.connection.clear()
  }

  @Test("nothing is read after a connection has begun to close")
  func leaving() {
    let owner = TestOwner()
    owner.connection.isLeaving = true
    owner.supply(call(1))
    #expect(owner.heard.isEmpty)
    #expect(owner.connection.interest.isEmpty)
  }

  @Test("the owner gets the beginning of a call that is too large, after all of it has arrived")
  func tooLarge() {
    let owner = TestOwner()
    let large = call(1, 3, [UInt8](repeating: 7, count: 3 * ServerConnection.largestCall)) + call(2)
    for start in stride(from: 0, to: large.count, by: 60_000) {
      #expect(owner.heard.isEmpty)
      owner.supply(Array(large[start..<min(large.count, start + 60_000)]))
    }
    #expect(owner.connection.end == nil)
    #expect(owner.heard.count == 2)
    owner.connection.clear()
    #expect(owner.pool.heldCount == 0)
  }

  @Test("an invalid length ends the connection at the byte that decides it")
  func badLength() {
    for packet in [[0, 0, 0, 5], [3], [0xff, 0xff, 0xff, 0xff], [0, 0, 0, 5] + call(1)] as [[UInt8]]
    {
      let owner = TestOwner()
      owner.supply(packet)
      guard case .violation = owner.connection.end else {
        Issue.record("it does not end: \(String(describing: owner.connection.end))")
        return
      }
      owner.connection.clear()
      #expect(owner.heard.isEmpty)
      #expect(owner.pool.heldCount == 0)
    }
  }
}
