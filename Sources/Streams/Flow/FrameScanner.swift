// Finds packet edges in received bytes, however the reads split them.

/// One packet, or a part of a large one, that can be forwarded now.
public struct Frame {
  public enum Part: Sendable { case whole, first, middle, last }

  /// The packet's header. For `middle` and `last` it is the header that came with the first part.
  public var header: PacketHeader
  /// Bytes to forward now, carriers included.
  public var length: Int
  /// Carrier bytes at the end of `length`, each with a descriptor.
  public var carriers: Int
  public var part: Part

  /// The frame is a whole packet of stream data. Packets like it may follow, and they are handled the same way.
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

/// Finds the packets in a sequence of bytes. It stores its position, not the bytes.
///
/// A packet of up to `Limits.usualPacket` bytes is forwarded when all of it has arrived, with the carriers of its
/// descriptors. Its receiver never sees half of it. A larger packet is forwarded in parts as they arrive.
struct FrameScanner {
  /// Contiguous bytes that the scanner reads at a packet's start: a header and a count.
  static let sight = Limits.header + 4

  /// Kinds that announce descriptors on this connection: a client's calls or a server's replies. The other
  /// kind is a packet like any other, and no receiver handles it.
  private let announcing: (PacketKind, PacketKind)
  /// Whether the transport can carry descriptors.
  private let carriesDescriptors: Bool

  /// - Parameter announcing: nil: both kinds, for packets of either side.
  init(announcing: PacketKind? = nil, carriesDescriptors: Bool = true) {
    self.announcing =
      announcing.map { ($0, $0) } ?? (.callWithDescriptors, .replyWithDescriptors)
    self.carriesDescriptors = carriesDescriptors
  }

  private func announces(_ kind: PacketKind) -> Bool {
    kind == announcing.0 || kind == announcing.1
  }

  /// Bytes of the packet at `front` that must be contiguous. The result can exceed `available`.
  func need(at front: UnsafeRawPointer, available: Int) -> Int {
    guard available >= Limits.header, announces(PacketHeader(at: front).kind) else {
      return Limits.header
    }
    return FrameScanner.sight
  }

  private var passing: PacketHeader?
  private var passingLeft = 0
  private var passingCarriers = 0

  /// Bytes that a packet forwarded in parts still needs, carriers included.
  var unfinished: Int { passing == nil ? 0 : passingLeft + passingCarriers }
  /// Carriers at the end of the unfinished bytes.
  var unfinishedCarriers: Int { passing == nil ? 0 : passingCarriers }

  /// The frame at the front; nil if not enough of the packet has arrived.
  /// - Parameters:
  ///   - front: the next byte. `min(available, sight)` bytes from it are contiguous.
  ///   - available: bytes that have arrived from `front` on.
  ///   - largestWhole: packets of up to this many bytes wait until they are complete.
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

  /// The next part of the packet that is being forwarded in parts; nil: no such packet, or no part of it has arrived.
  mutating func rest(available: Int) -> Frame? {
    guard let header = passing else { return nil }
    return pass(header, available)
  }

  /// A packet without carriers, of which only the header has arrived, is forwarded in parts.
  mutating func beginPassing(_ header: PacketHeader) {
    passing = header
    passingLeft = header.payloadLength
    passingCarriers = 0
  }

  /// Bytes of the packet that is being forwarded in parts went another way.
  mutating func passed(_ count: Int) {
    passingLeft -= count
    if passingLeft <= 0 { passing = nil }
  }

  /// The header at `front` and the number of carriers behind its packet; nil until both have arrived.
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
    // The smallest possible value of a count that has arrived only in part.
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

  /// Throws at the first byte of a length word that leaves no valid length. The broker does not wait for a whole
  /// header that cannot be valid.
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

  /// The possible values of a word of which `available` bytes have arrived.
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

  /// Writes or reads the position within a packet that is forwarded in parts.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&passing, initially: .empty) { (header, coder) throws(Violation) in
      try header.code(&coder)
    }
    try coder.code(&passingLeft, in: 0...Limits.packet)
    try coder.code(&passingCarriers, in: 0...Limits.descriptors)
    // Every part but the last leaves a byte of the packet.
    if passing != nil, passingLeft == 0 { throw Violation(.snapshotValueInvalid, [0, "a packet"]) }
  }

  private mutating func pass(_ header: PacketHeader, _ available: Int) -> Frame? {
    if available >= passingLeft + passingCarriers {
      // If no part was returned before, the packet arrived whole.
      let part: Frame.Part = passingLeft == Int(header.length) ? .whole : .last
      defer { passing = nil }
      defer { passingLeft = 0 }
      return Frame(
        header: header, length: passingLeft + passingCarriers, carriers: passingCarriers, part: part
      )
    }
    // Keep the last byte of the packet until the carriers behind it have arrived.
    let length = min(available, passingLeft - 1)
    guard length > 0 else { return nil }
    passingLeft -= length
    return Frame(header: header, length: length, carriers: 0, part: .middle)
  }
}
