// Packet edges, wherever the reads happened to split them.

/// One packet, or the part of a large one, that can go on now.
public struct Frame {
  public enum Part: Sendable { case whole, first, middle, last }

  /// The header of the packet; for `middle` and `last` that of its beginning.
  public var header: PacketHeader
  /// Bytes to go on now, carriers included.
  public var length: Int
  /// Carrier bytes at the end of those, each with a descriptor.
  public var carriers: Int
  public var part: Part

  /// It is data of a stream, whole: more of the same may follow, to be treated as this is.
  var beginsRun: Bool {
    part == .whole && header.kind == .stream && header.status == .continue && carriers == 0
      && header.payloadLength > 0
  }

  func extended(by bytes: Int) -> Frame {
    var longer = self
    longer.length += bytes
    return longer
  }
}

/// Finds the packets in a sequence of bytes. It keeps no bytes, only where it stands.
///
/// A packet of up to `Limits.usualPacket` goes on when all of it has arrived, with the carriers of its
/// descriptors: its receiver never sees half of it. A larger one goes on as it comes.
struct FrameScanner {
  /// Bytes that must lie in one piece for the scanner to see all it needs: a header and a count.
  static let sight = Limits.header + 4

  /// Kinds that announce descriptors on this connection: a client's calls or a server's replies. The other
  /// kind is a packet like any other, which nobody there receives.
  private let announcing: (PacketKind, PacketKind)
  /// Whether descriptors can come at all.
  private let carriesDescriptors: Bool

  /// - Parameter announcing: nil: both kinds, for packets of whatever side.
  init(announcing: PacketKind? = nil, carriesDescriptors: Bool = true) {
    self.announcing =
      announcing.map { ($0, $0) } ?? (.callWithDescriptors, .replyWithDescriptors)
    self.carriesDescriptors = carriesDescriptors
  }

  private func announces(_ kind: PacketKind) -> Bool {
    kind == announcing.0 || kind == announcing.1
  }

  /// Bytes of the packet at `front` that must lie in one piece, if there are more than `available`.
  func need(at front: UnsafeRawPointer, available: Int) -> Int {
    guard available >= Limits.header, announces(PacketHeader(at: front).kind) else {
      return Limits.header
    }
    return FrameScanner.sight
  }

  private var passing: PacketHeader?
  private var passingLeft = 0
  private var passingCarriers = 0

  /// Bytes of a packet cut through that have not gone on yet, carriers included.
  var unfinished: Int { passing == nil ? 0 : passingLeft + passingCarriers }
  /// How many of those are carriers, at the end.
  var unfinishedCarriers: Int { passing == nil ? 0 : passingCarriers }

  /// The packet at the front, or nil while it is not all there.
  /// - Parameters:
  ///   - front: the next byte, with `min(available, sight)` bytes in one piece.
  ///   - available: bytes that have arrived from there on.
  ///   - largestWhole: packets up to this size wait until they are complete.
  /// - Throws: `Violation` for a length or a count outside the protocol's limits.
  mutating func frame(
    at front: UnsafeRawPointer, available: Int, largestWhole: Int = Limits.usualPacket
  ) throws(Violation) -> Frame? {
    if let header = passing { return pass(header, available) }
    guard let (header, carriers) = try edges(at: front, available) else { return nil }
    let length = Int(header.length)
    if length > largestWhole {
      passing = header
      passingLeft = length
      passingCarriers = carriers
      var frame = pass(header, available)
      if frame?.part == .middle { frame?.part = .first }
      return frame
    }
    guard available >= length + carriers else { return nil }
    return Frame(header: header, length: length + carriers, carriers: carriers, part: .whole)
  }

  /// What can go on now of the packet that is being cut through; nil if there is none, or nothing of it.
  mutating func rest(available: Int) -> Frame? {
    guard let header = passing else { return nil }
    return pass(header, available)
  }

  /// The header at `front` and the number of carriers behind its packet; nil while they cannot be seen.
  func edges(
    at front: UnsafeRawPointer, _ available: Int
  ) throws(Violation) -> (header: PacketHeader, carriers: Int)? {
    guard available >= Limits.header else {
      try FrameScanner.checkLength(front, available)
      return nil
    }
    let header = PacketHeader(at: front)
    guard header.length >= UInt32(Limits.header), header.length <= UInt32(Limits.packet) else {
      try FrameScanner.checkLength(front, available)
      return nil
    }
    guard announces(header.kind) else { return (header, 0) }
    guard header.length >= UInt32(FrameScanner.sight) else {
      throw Violation(.descriptorCountMissing)
    }
    // Of a count that has not arrived whole this is the least that it can be.
    let count = FrameScanner.bounds(front + Limits.header, available - Limits.header).lowerBound
    guard count <= UInt32(Limits.descriptors) else {
      throw Violation(.tooManyDescriptorsInPacket, [count, Limits.descriptors])
    }
    guard count == 0 || carriesDescriptors else {
      throw Violation(.descriptorsOverNetwork)
    }
    guard available >= FrameScanner.sight else { return nil }
    return (header, Int(count))
  }

  /// Refuses a length word at the first of its bytes that leaves no valid length. A peer that sends less than a
  /// header is not waited for where its packet cannot be one.
  private static func checkLength(
    _ front: UnsafeRawPointer, _ available: Int
  ) throws(Violation) {
    let possible = bounds(front, available)
    let valid = UInt32(Limits.header)...UInt32(Limits.packet)
    guard !possible.overlaps(valid) else { return }
    // A TLS record of a handshake begins with 22 and the version 3, whose second byte varies.
    let isTLS = possible.lowerBound >> 16 == 0x1603
    throw Violation(
      isTLS ? .packetLooksLikeTLS : .packetLengthOutOfRange,
      [possible.lowerBound, Limits.header, Limits.packet])
  }

  /// What a word can be of which `available` bytes have arrived.
  private static func bounds(
    _ word: UnsafeRawPointer, _ available: Int
  ) -> ClosedRange<UInt32> {
    let known = min(max(available, 0), 4)
    var least: UInt32 = 0
    for index in 0..<known {
      least |= UInt32(word.load(fromByteOffset: index, as: UInt8.self)) << UInt32(24 - 8 * index)
    }
    return least...(least | UInt32.max >> UInt32(8 * known))
  }

  private mutating func pass(_ header: PacketHeader, _ available: Int) -> Frame? {
    if available >= passingLeft + passingCarriers {
      // A packet that arrived whole after all may still be told by `first` never having been given.
      let part: Frame.Part = passingLeft == Int(header.length) ? .whole : .last
      defer { passing = nil }
      defer { passingLeft = 0 }
      return Frame(
        header: header, length: passingLeft + passingCarriers, carriers: passingCarriers, part: part
      )
    }
    // The last byte of the packet waits for the carriers behind it.
    let length = min(available, passingLeft - 1)
    guard length > 0 else { return nil }
    passingLeft -= length
    return Frame(header: header, length: length, carriers: 0, part: .middle)
  }
}
