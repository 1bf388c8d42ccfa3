// The receive buffer, with reads and segments that end at every possible byte.
import Testing

@testable import Simulator
@testable import Streams

@Suite("receive buffer")
struct ReceiveBufferTests {
  @Test("a packet split between two reads becomes whole; a partial header holds no segment")
  func twoReads() throws {
    let bytes = packet(1, 60)
    for cut in 1..<bytes.count {
      for settles in [false, true] {
        let intake = Intake()
        intake.read(bytes[..<cut])
        #expect(try intake.next() == nil)
        if settles { intake.receiveBuffer.settle() }
        #expect(intake.pool.heldCount == (settles && cut < Limits.header ? 0 : 1), "cut at \(cut)")
        #expect(intake.receiveBuffer.waiting == cut)
        intake.read(bytes[cut...])
        #expect(try intake.takeAll().map(\.length) == [60])
        #expect(difference(intake.contents(), bytes) == nil, "cut at \(cut)")
        intake.receiveBuffer.settle()
        #expect(intake.pool.heldCount == 0, "an idle connection owns no segment")
      }
    }
  }

  @Test("a partial header is kept aside while it grows byte by byte")
  func byteByByte() throws {
    let bytes = packet(1, 31) + packet(2, 28)
    let intake = Intake()
    var serials: [UInt32] = []
    for byte in bytes {
      intake.read([byte])
      serials += try intake.takeAll().map(\.header.serial)
      intake.receiveBuffer.settle()
    }
    #expect(serials == [1, 2])
    #expect(difference(intake.contents(), bytes) == nil)
    #expect(intake.pool.heldCount == 0)
  }

  @Test("a header split between two segments becomes whole", arguments: 0..<40)
  func twoSegments(split: Int) throws {
    // A new segment of 256 bytes has space for 224; `split` of them belong to the second packet.
    for kind in [PacketKind.call, .callWithDescriptors] {
      let first = packet(1, 224 - split)
      let second = Stamp.packet(
        PacketHeader(procedure: 3, kind: kind, serial: 2), Stamp.bytes(0, padding: 300))
      let bytes = first + second
      let intake = Intake()
      intake.read(bytes[..<224])
      intake.read(bytes[224...])
      intake.read()
      #expect(try intake.takeAll().map(\.header.serial) == [1, 2])
      #expect(difference(intake.contents(), bytes) == nil)
      intake.receiveBuffer.settle()
      #expect(intake.pool.heldCount == 0)
    }
  }

  @Test("a packet can span many segments")
  func manySegments() throws {
    let bytes = packet(1, 40) + packet(2, 3000) + packet(3, 50)
    let intake = Intake(segment: 64)
    intake.socket.supply(bytes[...])
    while case .moved = intake.read() {}
    #expect(try intake.takeAll().map(\.header.serial) == [1, 2, 3])
    #expect(difference(intake.contents(), bytes) == nil)
    intake.receiveBuffer.settle()
    #expect(intake.pool.heldCount == 0)
  }

  @Test(
    "the parts of a large packet add up to its bytes in order", arguments: [1, 7, 28, 31, 64, 200])
  func cutThrough(piece: Int) throws {
    let bytes = packet(1, 500) + packet(2, 30)
    let intake = Intake(largestWhole: 128)
    var out: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: piece) {
      intake.read(bytes[start..<min(start + piece, bytes.count)])
      try intake.takeAll()
      out += intake.contents()
      intake.receiveBuffer.settle()
    }
    #expect(difference(out, bytes) == nil)
    #expect(intake.receiveBuffer.unfinished == 0)
    #expect(intake.pool.heldCount == 0)
  }

  @Test("wasFilled is true after a read that filled all its space")
  func filled() {
    let intake = Intake()
    intake.read(packet(1, 223))
    #expect(!intake.wasFilled)
    intake.read(packet(1, 225))
    #expect(intake.wasFilled, "one byte behind 223, the rest in a second segment of 224")
    intake.read()
    #expect(!intake.wasFilled, "nothing came")
  }

  @Test(
    "an idle or closed connection holds no segment",
    arguments: [
      Outcome.end, .failed(104), .blocked(.read),
    ])
  func nothing(outcome: Outcome) {
    let intake = Intake()
    intake.socket.afterwards = outcome
    #expect(intake.read() == outcome)
    #expect(intake.pool.heldCount == 0)
    intake.read([1, 2, 3])
    #expect(intake.read() == outcome)
    #expect(intake.pool.heldCount == 0, "three bytes are kept aside")
    #expect(intake.receiveBuffer.waiting == 3)
  }

  @Test(
    "small packets that wait to be sent share a segment, even if each read ends inside a header")
  func sharedSegment() throws {
    let bytes = (0..<1000).flatMap { packet($0, 28) }
    let intake = Intake(segment: SegmentPool.usualCapacity)
    // Each read has the rest of one packet and the first byte of the next.
    intake.read(bytes[..<29])
    for start in stride(from: 29, to: bytes.count, by: 28) {
      try intake.takeAll()
      intake.receiveBuffer.settle()
      intake.read(bytes[start..<min(start + 28, bytes.count)])
    }
    try intake.takeAll()
    intake.receiveBuffer.settle()
    #expect(intake.pool.heldCount == 1, "28,000 bytes wait")
    #expect(difference(intake.contents(), bytes) == nil)
    intake.receiveBuffer.settle()
    #expect(intake.pool.heldCount == 0)
  }

  @Test("the body of a packet is found wherever segments cut it", arguments: 28...224)
  func body(cut: Int) throws {
    let bytes = packet(1, 400)
    let intake = Intake()
    intake.read(bytes[..<cut])
    intake.read(bytes[cut...])
    while case .moved = intake.read() {}
    let frame = try #require(try intake.next())
    #expect(intake.body(of: frame) == Array(bytes[28...]))
    intake.drop(frame)
    #expect(intake.receiveBuffer.waiting == 0)
  }

  @Test("a body ends before its carriers; a lone header has no body")
  func bodyEnds() throws {
    let intake = Intake()
    let carried = Stamp.packet(
      PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1), Stamp.bytes(1, 5))
    intake.read(carried + [0], descriptor: 50)
    intake.read(packet(2, 28))
    let frame = try #require(try intake.next())
    #expect(intake.body(of: frame) == Stamp.bytes(1, 5))
    intake.drop(frame)
    #expect(intake.socket.discarded == [50])
    let next = try #require(try intake.next())
    #expect(intake.body(of: next).isEmpty)
  }
}
