// Looking at packets that are queued behind waiting ones.
import Testing

@testable import Simulator
@testable import Streams

@Suite("receive buffer: looking ahead")
struct LookAheadTests {
  private func carrying(_ serial: UInt32, _ count: UInt32, kind: PacketKind) -> [UInt8] {
    Stamp.packet(PacketHeader(procedure: 3, kind: kind, serial: serial), Stamp.bytes(count))
      + [UInt8](repeating: 0, count: Int(count))
  }

  @Test("each header is shown once, as soon as it has arrived", arguments: 1...60)
  func once(piece: Int) throws {
    let bytes =
      packet(1, 28) + packet(2, 90) + carrying(3, 3, kind: .callWithDescriptors)
      + carrying(4, 2, kind: .replyWithDescriptors) + packet(5, 28) + packet(6, 300) + packet(7, 28)
    let ends = [28, 118, 153, 187, 215, 515, 543]
    let intake = Intake()
    var shown: [UInt32] = []
    for start in stride(from: 0, to: bytes.count, by: piece) {
      let end = min(start + piece, bytes.count)
      intake.socket.supply(bytes[start..<end])
      while case .moved = intake.read() {}
      shown += try intake.seen()
      // The header is enough; the rest of the packet may be missing.
      let begun = zip([0] + ends, 1...7).filter { $0.0 + 32 <= end }.count
      #expect(shown.count >= begun, "\(end) bytes")
      #expect(shown == (0..<shown.count).map { UInt32($0 + 1) })
    }
    #expect(shown == [1, 2, 3, 4, 5, 6, 7])
    #expect(try intake.seen() == [])
    #expect(try intake.takeAll().map(\.header.serial) == shown, "nothing was taken")
  }

  @Test("frontWasSeen is true for packets that were shown")
  func wasSeen() throws {
    let intake = Intake()
    intake.read(packet(1, 28) + packet(2, 40))
    #expect(!intake.frontWasSeen)
    #expect(try intake.seen() == [1, 2])
    intake.read(packet(3, 28))
    for (serial, seen) in [(UInt32(1), true), (2, true), (3, false)] {
      let frame = try #require(try intake.next())
      #expect(frame.header.serial == serial)
      #expect(intake.frontWasSeen == seen)
      intake.take(frame)
    }
    intake.read(packet(4, 28))
    #expect(try intake.seen() == [4], "what was taken before is not shown")
  }

  @Test("looking ahead continues after a large packet once its rest has arrived", arguments: 1...3)
  func behindLarge(carriers: Int) throws {
    let large =
      Stamp.packet(
        PacketHeader(procedure: 3, kind: .callWithDescriptors, serial: 1),
        Stamp.bytes(UInt32(carriers), padding: 300)) + [UInt8](repeating: 0, count: carriers)
    let intake = Intake(segment: 4096, largestWhole: 128)
    intake.read(large[..<150])
    #expect(try intake.takeAll().map(\.part) == [.first])
    #expect(try intake.seen() == [])
    intake.read(large[150...] + packet(2, 28)[...])
    #expect(try intake.seen() == [2])
    // The rest of the large packet and the packet after it.
    #expect(try intake.takeAll().map(\.header.serial) == [1, 2])
  }

  @Test(
    "a violation is found when its packet is shown, as when it is taken",
    arguments: [
      Stamp.bytes(27, 0x2000_8086, 1, 3, 0, 2, 0),
      Stamp.bytes(33_554_437, 0x2000_8086, 1, 3, 0, 2, 0),
      Stamp.bytes(28, 0x2000_8086, 1, 3, 4, 2, 0), Stamp.bytes(28, 0x2000_8086, 1, 3, 5, 2, 0),
      Stamp.bytes(32, 0x2000_8086, 1, 3, 4, 2, 0, 33),
    ])
  func violations(bytes: [UInt8]) throws {
    let intake = Intake()
    intake.read(packet(1, 28) + bytes)
    #expect(throws: Violation.self) { try intake.seen() }
    let frame = try #require(try intake.next())
    #expect(frame.header.serial == 1)
    intake.take(frame)
    #expect(throws: Violation.self) { try intake.next() }
  }

  /// The first segment ends with the rest of a large packet and the start of a header, which moves to the front of
  /// the second segment. Together they are larger than the headroom.
  @Test(
    "looking ahead across the end of a segment does not move the rest of a large packet",
    arguments: 1...40)
  func headroom(rest: Int) throws {
    for split in 1...31 {
      let large = packet(1, 300)
      let second = packet(2, 100)
      let bytes = large + second
      let intake = Intake(largestWhole: 128)
      // The first segment has space for 224 bytes: the end of the large packet and `split` bytes of a header.
      let begun = 300 - rest
      let filling = 224 - rest - split
      for start in stride(from: 0, to: begun - filling, by: 100) {
        intake.read(bytes[start..<min(start + 100, begun - filling)])
        try intake.takeAll()
        _ = intake.contents()
        intake.receiveBuffer.settle()
      }
      #expect(intake.pool.heldCount == 0)
      intake.read(bytes[(begun - filling)..<begun])
      try intake.takeAll()
      // The packet waits, and more bytes arrive.
      intake.read(bytes[begun..<(300 + split)])
      intake.read(bytes[(300 + split)...])
      #expect(try intake.seen() == [2])
      #expect(try intake.takeAll().last?.header.serial == 2)
      #expect(difference(intake.contents(), Array(bytes[(begun - filling)...])) == nil)
    }
  }
}
