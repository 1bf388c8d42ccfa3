// A connection whose calls are answered on the spot.
import Testing

@testable import Streams

@Suite("dialogue")
struct DialogueTests {
  /// Answers each call with as many bytes as it is told.
  private final class Clerk: ServerConnectionOwner {
    let socket = PiecedTransport()
    let pool = SegmentPool()
    private(set) var heard: [(header: PacketHeader, body: [UInt8])] = []
    var answerBytes = 0
    private var made: ServerConnection?
    var connection: ServerConnection {
      guard let made else { preconditionFailure("made with the clerk") }
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

  @Test("calls are answered in order, wherever the reads cut them", arguments: 1...64)
  func cut(size: Int) {
    let clerk = Clerk()
    let bytes =
      call(1, 5, [1, 2, 3, 4]) + call(2, 6) + call(3, 7, [UInt8](repeating: 9, count: 40))
    var rest = bytes[...]
    while !rest.isEmpty {
      clerk.supply(rest.prefix(size))
      rest = rest.dropFirst(size)
    }
    #expect(clerk.heard.map(\.header.serial) == [1, 2, 3])
    #expect(clerk.heard.map(\.body.count) == [4, 0, 40])
    #expect(clerk.answers().map(\.serial) == [1, 2, 3])
    #expect(clerk.pool.heldCount == 0, "an idle connection holds no buffer")
  }

  @Test("a PING is answered, and shows that the peer knows of keepalive; the rest is for nobody")
  func keepAlive() {
    let clerk = Clerk()
    clerk.supply(reply(1) + stream(2, 209, .continue, [1]) + event(3))
    #expect(!clerk.connection.knowsKeepAlive)
    clerk.supply(ping)
    #expect(clerk.connection.knowsKeepAlive)
    #expect(clerk.answers().map(\.header.procedure) == [KeepAliveProcedure.pong])
    #expect(clerk.heard.isEmpty)
    #expect(clerk.connection.end == nil)
  }

  @Test("a call that could bring descriptors and brings none is a call")
  func descriptors() {
    let clerk = Clerk()
    let header = PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1)
    clerk.supply(Stamp.packet(header, [0, 0, 0, 0, 5, 6, 7, 8]))
    #expect(clerk.heard.map(\.body) == [[5, 6, 7, 8]])
    clerk.supply(Stamp.packet(header, [0, 0, 0, 1]))
    #expect(clerk.connection.end != nil, "and one that does ends the connection")
  }

  @Test("who does not read the replies is not read either, and is when the replies are out")
  func congestion() {
    let clerk = Clerk()
    clerk.answerBytes = 40_000
    clerk.socket.room = 0
    for serial: UInt32 in 1...4 { clerk.supply(call(serial)) }
    #expect(clerk.heard.count == 2, "beyond the mark nothing is read")
    #expect(clerk.connection.interest == .write)
    clerk.socket.room = .max
    clerk.connection.ready(.write)
    // A read that does not fill the room is the last of its turn: the loop says that there is more.
    for count in 3...4 {
      #expect(clerk.connection.interest == .read)
      clerk.connection.ready(.read)
      #expect(clerk.heard.count == count)
    }
    #expect(clerk.answers().map(\.serial) == [1, 2, 3, 4])
    clerk.connection.clear()
  }

  @Test("nothing is read any more from one that has said its last")
  func leaving() {
    let clerk = Clerk()
    clerk.connection.isLeaving = true
    clerk.supply(call(1))
    #expect(clerk.heard.isEmpty)
    #expect(clerk.connection.interest.isEmpty)
  }

  @Test("of a call that is too large the beginning is given to the owner, when all of it has come")
  func tooLarge() {
    let clerk = Clerk()
    let large = call(1, 3, [UInt8](repeating: 7, count: 3 * ServerConnection.largestCall)) + call(2)
    for start in stride(from: 0, to: large.count, by: 60_000) {
      #expect(clerk.heard.isEmpty)
      clerk.supply(Array(large[start..<min(large.count, start + 60_000)]))
    }
    #expect(clerk.connection.end == nil)
    #expect(clerk.heard.count == 2)
    clerk.connection.clear()
    #expect(clerk.pool.heldCount == 0)
  }

  @Test("a length that cannot be ends the connection at the byte that decides it")
  func badLength() {
    for packet in [[0, 0, 0, 5], [3], [0xff, 0xff, 0xff, 0xff], [0, 0, 0, 5] + call(1)] as [[UInt8]]
    {
      let clerk = Clerk()
      clerk.supply(packet)
      guard case .violation = clerk.connection.end else {
        Issue.record("it does not end: \(String(describing: clerk.connection.end))")
        return
      }
      clerk.connection.clear()
      #expect(clerk.heard.isEmpty)
      #expect(clerk.pool.heldCount == 0)
    }
  }
}
