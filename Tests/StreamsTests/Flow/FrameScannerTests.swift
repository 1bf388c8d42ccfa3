// The frame scanner: it finds where packets begin and end, however many of their bytes have arrived.
import Testing

@testable import Simulator
@testable import Streams

@Suite("frame scanner")
struct FrameScannerTests {
  /// The frames found when `bytes` arrive in pieces of these sizes; the last size repeats.
  private func frames(
    _ bytes: [UInt8], pieces: [Int], largestWhole: Int = Limits.usualPacket
  ) throws -> [Frame] {
    var scanner = FrameScanner()
    var frames: [Frame] = []
    var arrived = 0
    var head = 0
    var next = 0
    while arrived < bytes.count {
      arrived = min(bytes.count, arrived + pieces[min(next, pieces.count - 1)])
      next += 1
      while let frame = try scanner.frame(
        of: bytes, at: head, arrived: arrived, largestWhole: largestWhole)
      {
        frames.append(frame)
        head += frame.length
        #expect(head <= arrived, "a frame is made of what has arrived")
      }
    }
    #expect(head == bytes.count, "frames cover what arrived")
    #expect(scanner.unfinished == 0)
    return frames
  }

  private func packet(_ kind: PacketKind, _ serial: UInt32, _ payload: [UInt8]) -> [UInt8] {
    Stamp.packet(PacketHeader(procedure: 3, kind: kind, serial: serial), payload)
  }

  @Test(
    "a packet is complete with its last byte and not before", arguments: [28, 29, 31, 32, 33, 100])
  func lastByte(length: Int) throws {
    let bytes = packet(.call, 7, Array(repeating: 9, count: length - Limits.header))
    for arrived in 0..<length {
      var scanner = FrameScanner()
      #expect(try scanner.frame(of: bytes, at: 0, arrived: arrived) == nil, "\(arrived) bytes")
    }
    var scanner = FrameScanner()
    let frame = try #require(try scanner.frame(of: bytes, at: 0, arrived: length))
    #expect(frame.header.serial == 7)
    #expect(frame.header.length == length)
    #expect((frame.length, frame.carriers, frame.part) == (length, 0, .whole))
  }

  @Test("a packet with descriptors is complete with its last carrier and not before")
  func lastCarrier() throws {
    let bytes = packet(.callWithDescriptors, 7, Stamp.bytes(3, 4)) + [0, 0, 0]
    for arrived in 0..<bytes.count {
      var scanner = FrameScanner()
      #expect(try scanner.frame(of: bytes, at: 0, arrived: arrived) == nil, "\(arrived) bytes")
    }
    var scanner = FrameScanner()
    let frame = try #require(try scanner.frame(of: bytes, at: 0, arrived: bytes.count))
    #expect((frame.length, frame.carriers, frame.part) == (39, 3, .whole))
  }

  @Test("packets are found wherever reads split them")
  func everyCut() throws {
    let packets: [[UInt8]] = [
      packet(.call, 1, []), packet(.callWithDescriptors, 2, Stamp.bytes(2)) + [0, 0],
      packet(.stream, 3, [1, 2, 3]), packet(.replyWithDescriptors, 4, Stamp.bytes(0, 5)),
      packet(.reply, 5, Array(repeating: 1, count: 41)),
    ]
    let bytes = packets.flatMap { $0 }
    for cut in 0..<bytes.count {
      let found = try frames(bytes, pieces: [cut, bytes.count])
      #expect(found.map(\.length) == packets.map(\.count), "cut at \(cut)")
      #expect(found.map(\.header.serial) == [1, 2, 3, 4, 5])
      #expect(found.map(\.carriers) == [0, 2, 0, 0, 0])
    }
    for size in 1..<40 {
      #expect(try frames(bytes, pieces: [size]).map(\.length) == packets.map(\.count), "by \(size)")
    }
  }

  @Test(
    "a length shorter than a header or above the limit is a violation",
    arguments: [
      UInt32(0), 3, 4, 27, 33_554_437, .max,
    ])
  func badLength(length: UInt32) {
    var bytes = packet(.call, 1, [])
    bytes.replaceSubrange(0..<4, with: Stamp.bytes(length))
    var scanner = FrameScanner()
    #expect(throws: Violation(.packetLengthOutOfRange, [length, 28, 33_554_436])) {
      try scanner.frame(of: bytes, at: 0, arrived: bytes.count)
    }
  }

  /// The number of bytes of a length word after which it can be refused.
  private static let deciding: [(length: UInt32, bytes: Int)] = [
    (0, 4), (1, 4), (3, 4), (4, 4), (5, 4), (27, 4), (33_554_437, 4), (0x0200_0100, 3),
    (0x0201_0000, 2), (0x0300_0000, 1), (0x1603_0100, 1), (0x7fff_ffff, 1), (0x8000_0000, 1),
    (.max, 1),
  ]

  @Test("an invalid length is refused at the first byte that decides it", arguments: deciding)
  func earlyLength(length: UInt32, bytes: Int) throws {
    for arrived in 1..<28 {
      var scanner = FrameScanner()
      let word = Stamp.bytes(length, padding: 24)
      guard arrived >= bytes else {
        #expect(try scanner.frame(of: word, at: 0, arrived: arrived) == nil)
        continue
      }
      #expect(throws: Violation.self, "\(arrived) bytes of \(length)") {
        try scanner.frame(of: word, at: 0, arrived: arrived)
      }
    }
  }

  @Test(
    "a valid length waits for its header", arguments: [28, 29, 255, 256, 262_148, 33_554_436])
  func possibleLength(length: UInt32) throws {
    for arrived in 1..<28 {
      var scanner = FrameScanner()
      let word = Stamp.bytes(length, padding: 24)
      #expect(try scanner.frame(of: word, at: 0, arrived: arrived) == nil)
    }
  }

  @Test(
    "an invalid count of descriptors is refused at the first byte that decides it",
    arguments: [(33, 4), (256, 3), (65_536, 2), (1 << 24, 1), (.max, 1)] as [(UInt32, Int)])
  func earlyCount(count: UInt32, bytes: Int) throws {
    let packet = packet(.callWithDescriptors, 1, Stamp.bytes(count))
    for arrived in 28...32 {
      var scanner = FrameScanner()
      guard arrived - 28 >= bytes else {
        #expect(try scanner.frame(of: packet, at: 0, arrived: arrived) == nil)
        continue
      }
      #expect(throws: Violation.self) { try scanner.frame(of: packet, at: 0, arrived: arrived) }
    }
  }

  @Test("the largest packet is cut through")
  func largest() throws {
    var bytes = packet(.stream, 1, [])
    bytes.replaceSubrange(0..<4, with: Stamp.bytes(33_554_436))
    var scanner = FrameScanner()
    let frame = try #require(try scanner.frame(of: bytes, at: 0, arrived: 28))
    #expect((frame.length, frame.part) == (28, .first))
    #expect(scanner.unfinished == 33_554_436 - 28)
  }

  @Test(
    "a packet carries up to 32 descriptors",
    arguments: [
      PacketKind.callWithDescriptors, .replyWithDescriptors,
    ])
  func descriptorCounts(kind: PacketKind) throws {
    for count in [0, 1, 32] {
      let bytes = packet(kind, 1, Stamp.bytes(UInt32(count))) + [UInt8](repeating: 0, count: count)
      let found = try frames(bytes, pieces: [bytes.count])
      #expect(found.map(\.carriers) == [count])
      #expect(found.map(\.length) == [32 + count])
    }
    for count in [33, 1 << 16, UInt32.max] {
      var scanner = FrameScanner()
      let bytes = packet(kind, 1, Stamp.bytes(count)) + [0]
      #expect(
        throws: Violation(.tooManyDescriptorsInPacket, [count, 32])
      ) { try scanner.frame(of: bytes, at: 0, arrived: bytes.count) }
    }
  }

  @Test(
    "a packet with descriptors but without space for their count is a violation", arguments: 28...31
  )
  func noCount(length: Int) {
    let bytes = packet(.callWithDescriptors, 1, Array(repeating: 0, count: length - 28))
    var scanner = FrameScanner()
    #expect(throws: Violation(.descriptorCountMissing)) {
      try scanner.frame(of: bytes, at: 0, arrived: bytes.count)
    }
  }

  @Test("in a packet of another kind the count is payload")
  func payloadLikeCount() throws {
    let bytes = packet(.call, 1, Stamp.bytes(.max))
    #expect(try frames(bytes, pieces: [bytes.count]).map(\.carriers) == [0])
  }

  @Test("a packet of the largest whole size waits for its end; a larger one is passed on in parts")
  func wholeLimit() throws {
    let whole = packet(.stream, 1, Array(repeating: 5, count: 36))
    #expect(try frames(whole, pieces: [63, 1], largestWhole: 64).map(\.part) == [.whole])
    let larger = packet(.stream, 1, Array(repeating: 5, count: 37))
    let found = try frames(larger, pieces: [63, 1], largestWhole: 64)
    #expect(found.map(\.part) == [.first, .middle, .last])
    #expect(
      found.map(\.length) == [63, 1, 1], "the last byte comes alone: carriers could follow it")
    #expect(
      try frames(larger, pieces: [65], largestWhole: 64).map(\.part) == [.whole],
      "unless it is there already")
  }

  @Test(
    "the parts of a large packet cover all of it; its carriers are in the last part",
    arguments: 1...80)
  func parts(piece: Int) throws {
    let large = packet(.callWithDescriptors, 6, Stamp.bytes(2, padding: 100)) + [0, 0]
    let small = packet(.call, 7, [])
    let found = try frames(large + small, pieces: [piece], largestWhole: 64)
    let parts = found.dropLast()
    #expect(found.last?.header.serial == 7)
    #expect(found.last?.part == .whole)
    #expect(parts.first?.part == .first)
    #expect(parts.last?.part == .last)
    #expect(parts.dropFirst().dropLast().allSatisfy { $0.part == .middle })
    #expect(parts.reduce(0) { $0 + $1.length } == large.count)
    #expect(parts.dropLast().allSatisfy { $0.carriers == 0 })
    #expect(parts.last?.carriers == 2)
    #expect((parts.last?.length ?? 0) >= 3, "the packet's last byte goes on with both carriers")
    #expect(parts.allSatisfy { $0.header.serial == 6 }, "each part has the packet's header")
  }

  @Test("the unfinished bytes are those not passed on yet, carriers included")
  func unfinished() throws {
    let bytes = packet(.callWithDescriptors, 6, Stamp.bytes(2, padding: 100)) + [0, 0]
    var scanner = FrameScanner()
    var head = 0
    for arrived in 0...bytes.count {
      while let frame = try scanner.frame(of: bytes, at: head, arrived: arrived, largestWhole: 64) {
        head += frame.length
        #expect(scanner.unfinished == bytes.count - head)
      }
      if head == 0 { #expect(scanner.unfinished == 0, "nothing has begun") }
    }
    #expect(head == bytes.count)
  }

  @Test("only a header with descriptors needs its count in one piece")
  func need() {
    for kind in 0..<8 as Range<UInt32> {
      let bytes = packet(PacketKind(rawValue: kind), 1, Stamp.bytes(1))
      bytes.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        for available in 0..<28 {
          #expect(FrameScanner().need(at: base, available: available) == 28)
        }
        #expect(FrameScanner().need(at: base, available: 28) == (kind == 4 || kind == 5 ? 32 : 28))
      }
    }
  }
}

extension FrameScanner {
  /// The frame at `head` when `arrived` bytes are there. The memory ends with those bytes, so that a sanitizer
  /// detects a read beyond them.
  fileprivate mutating func frame(
    of bytes: [UInt8], at head: Int, arrived: Int, largestWhole: Int = Limits.usualPacket
  ) throws(Violation) -> Frame? {
    let there = UnsafeMutableRawBufferPointer.allocate(byteCount: arrived - head, alignment: 1)
    defer { there.deallocate() }
    there.copyBytes(from: bytes[head..<arrived])
    guard let base = there.baseAddress else { return nil }
    return try frame(at: base, available: arrived - head, largestWhole: largestWhole)
  }
}
