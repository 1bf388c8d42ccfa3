// The sending side of one end: small packets gathered, stream packets directly from the pattern.
import Glibc
public import Streams

/// The sending side of a connection. Packets are sent whole and in order.
public final class Outflow {
  private let socket: Socket
  /// Small packets that wait to be sent together: 0 ≤ head ≤ tail ≤ gathered.count. The buffer starts small and gets
  /// its full size when more is queued.
  private var gathered: UnsafeMutableRawBufferPointer
  private var head = 0
  private var tail = 0
  private let capacity: Int
  private static let smallest = 4096
  /// The largest packet for which `hasRoom` guarantees space.
  static let largest = 40_000

  public init(_ socket: Socket, capacity: Int = 131_072) {
    self.socket = socket
    self.capacity = max(capacity, Self.smallest)
    gathered = .allocate(byteCount: Self.smallest, alignment: 16)
  }
  deinit { gathered.deallocate() }

  /// Whether a small packet can be queued without sending.
  public var hasRoom: Bool { capacity - tail >= Self.largest }

  /// Whether nothing is queued.
  var isEmpty: Bool { head == tail }

  /// Queues a packet without a body.
  public func put(_ header: PacketHeader) throws(EndFailure) {
    header.write(at: try room(for: Limits.header))
  }

  /// Queues a whole packet.
  public func put(_ packet: [UInt8]) throws(EndFailure) {
    let room = try room(for: packet.count)
    packet.withUnsafeBytes {
      guard let bytes = $0.baseAddress else { return }
      room.copyMemory(from: bytes, byteCount: $0.count)
    }
  }

  /// Queues a packet with a body. The header's length is filled in.
  func put(_ header: PacketHeader, _ body: UnsafeRawBufferPointer) throws(EndFailure) {
    let room = try room(for: Limits.header + body.count)
    var header = header
    header.length = UInt32(clamping: Limits.header + body.count)
    header.write(at: room)
    if let bytes = body.baseAddress {
      (room + Limits.header).copyMemory(from: bytes, byteCount: body.count)
    }
  }

  /// Sends the queued packets, waiting as long as necessary.
  public func flush() throws(EndFailure) {
    while try !flush(waiting: true) {}
  }

  /// Sends the queued packets, or without `waiting` what the kernel accepts now. Returns whether all were sent.
  func flush(waiting: Bool) throws(EndFailure) -> Bool {
    while head < tail {
      var piece = iovec(iov_base: gathered.baseAddress! + head, iov_len: tail - head)
      let moved = try socket.send(&piece, 1, waiting: waiting)
      if moved == 0 { return false }
      head += moved
    }
    head = 0
    tail = 0
    return true
  }

  /// The address for the next `count` bytes. It sends first if there is not enough space.
  private func room(for count: Int) throws(EndFailure) -> UnsafeMutableRawPointer {
    if gathered.count - tail < count, gathered.count < capacity {
      let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
      memcpy(larger.baseAddress!, gathered.baseAddress!, tail)
      gathered.deallocate()
      gathered = larger
    }
    if gathered.count - tail < count { try flush() }
    guard gathered.count - tail >= count else {
      throw EndFailure("a packet of \(count) bytes is not a small one")
    }
    defer { tail += count }
    return gathered.baseAddress! + tail
  }
}

/// Packets of one stream to be sent: headers and positions in the pattern, without copies.
///
/// Large packets are sent one by one, small ones several at a time, so that the measurement shows the cost of a relay
/// and not of this end.
final class OutgoingRun {
  /// The largest payload of a packet.
  static let largestMessage = Limits.packet - Limits.header
  /// A run of this many bytes, or this many packets, gets no more packets.
  private static let usualBytes = 65_536
  private static let mostPackets = 256
  /// The largest packet has a header, and a plain part and a stamp for each block it touches; the smallest packets
  /// have a header and at most three parts.
  private static let mostBlocks = largestMessage / Pattern.block + 2
  private static let mostPieces = max(mostPackets * 4, 1 + 2 * mostBlocks)

  private let headers = UnsafeMutableRawPointer.allocate(
    byteCount: Limits.header * mostPackets, alignment: 4)
  private let stamps = UnsafeMutablePointer<UInt64>.allocate(capacity: max(mostBlocks, mostPackets))
  private let pieces = UnsafeMutablePointer<iovec>.allocate(capacity: mostPieces)
  private var first = 0
  private var end = 0
  private var packets = 0
  private var usedStamps = 0
  private var bytes = 0

  deinit {
    headers.deallocate()
    stamps.deallocate()
    pieces.deallocate()
  }

  /// Whether part of the run has yet to be sent.
  var isPending: Bool { first < end }

  /// Whether one more packet of `count` bytes may be added to the unsent ones.
  func hasRoom(for count: Int) -> Bool {
    packets == 0 || bytes + count <= Self.usualBytes && packets < Self.mostPackets
  }

  /// Prepares packets of `message` bytes of the pattern each, from `position` up to `limit`, as many as are sent
  /// together. Returns the position of their end.
  func start(_ like: PacketHeader, from position: UInt64, to limit: UInt64, message: Int) -> UInt64
  {
    var position = position
    while position < limit {
      let count = Int(min(UInt64(message), limit - position))
      guard hasRoom(for: count) else { break }
      add(like, position: position, count: count)
      position += UInt64(count)
    }
    return position
  }

  /// Adds a packet with `count` bytes of the pattern from `position`. No byte of the run may have been sent.
  func add(_ like: PacketHeader, position: UInt64, count: Int) {
    precondition(
      count <= Self.largestMessage && hasRoom(for: count) && first == 0,
      "a run takes what it has room for before it leaves")
    let header = headers + packets * Limits.header
    var like = like
    like.length = UInt32(Limits.header + count)
    like.write(at: header)
    add(UnsafeRawPointer(header), Limits.header)
    var position = position
    var left = count
    while left > 0 {
      let offset = Int(position % UInt64(Pattern.block))
      let size: Int
      if offset < Pattern.plain {
        size = min(left, Pattern.plain - offset)
        add(Pattern.bytes + offset, size)
      } else {
        size = min(left, Pattern.block - offset)
        let stamp = stamps + usedStamps
        usedStamps += 1
        stamp.pointee = (position / UInt64(Pattern.block)).bigEndian
        add(UnsafeRawPointer(stamp) + (offset - Pattern.plain), size)
      }
      position += UInt64(size)
      left -= size
    }
    packets += 1
    bytes += Limits.header + count
  }

  /// Sends what the kernel accepts, or with `waiting` everything. Returns false if bytes are left.
  func send(to socket: Socket, waiting: Bool = false) throws(EndFailure) -> Bool {
    while isPending {
      // The kernel accepts no more pieces than this in one call.
      let count = min(end - first, 1024)
      var moved = try socket.send(pieces + first, count, waiting: waiting)
      if moved == 0 { return false }
      while first < end, moved >= pieces[first].iov_len {
        moved -= pieces[first].iov_len
        first += 1
      }
      if first < end {
        pieces[first].iov_base += moved
        pieces[first].iov_len -= moved
      }
    }
    first = 0
    end = 0
    packets = 0
    usedStamps = 0
    bytes = 0
    return true
  }

  private func add(_ bytes: UnsafeRawPointer, _ count: Int) {
    pieces[end] = iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes), iov_len: count)
    end += 1
  }
}
