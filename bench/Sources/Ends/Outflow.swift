// What goes out at one end: small packets gathered, stream packets straight from the pattern.
import Glibc
public import Streams

/// The sending side of a blocking connection. Packets go out whole and in order.
public final class Outflow {
  private let socket: Socket
  /// Small packets that wait to leave together.
  private var gathered: UnsafeMutableRawBufferPointer
  private var count = 0

  public init(_ socket: Socket, capacity: Int = 65_536) {
    self.socket = socket
    gathered = .allocate(byteCount: capacity, alignment: 16)
  }
  deinit { gathered.deallocate() }

  /// Whether a small packet can be put aside without sending.
  public var hasRoom: Bool { gathered.count - count >= 4096 }

  /// Puts a packet without a body aside.
  public func put(_ header: PacketHeader) throws(EndFailure) {
    if gathered.count - count < Limits.header { try flush() }
    header.write(at: gathered.baseAddress! + count)
    count += Limits.header
  }

  /// Puts a whole packet aside.
  public func put(_ packet: [UInt8]) throws(EndFailure) {
    if gathered.count - count < packet.count { try flush() }
    guard packet.count <= gathered.count else {
      throw EndFailure("a packet of \(packet.count) bytes is not a small one")
    }
    packet.withUnsafeBytes {
      (gathered.baseAddress! + count).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
    }
    count += packet.count
  }

  /// Sends what was put aside, waiting as long as it takes.
  public func flush() throws(EndFailure) {
    var sent = 0
    while sent < count {
      let moved = send(
        socket.descriptor, gathered.baseAddress! + sent, count - sent, Int32(MSG_NOSIGNAL))
      if moved < 0 {
        if errno == EINTR { continue }
        throw .system("sending")
      }
      sent += moved
    }
    count = 0
  }
}

/// One stream packet on its way out: its header and its place in the pattern, nothing copied.
final class OutgoingPacket {
  private let header = UnsafeMutableRawPointer.allocate(byteCount: Limits.header, alignment: 4)
  private let stamp = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
  private let pieces = UnsafeMutablePointer<iovec>.allocate(capacity: 4)
  private var first = 0
  private var end = 0

  deinit {
    header.deallocate()
    stamp.deallocate()
    pieces.deallocate()
  }

  /// Whether part of the packet has yet to be sent.
  var isPending: Bool { first < end }

  /// Sets out `count` bytes of the pattern from `position` on. A packet that carries no more than a
  /// block less a stamp meets at most one stamp.
  func start(_ like: PacketHeader, position: UInt64, count: Int) {
    precondition(count <= Pattern.plain && !isPending, "a packet holds one block and leaves whole")
    var like = like
    like.length = UInt32(Limits.header + count)
    like.write(at: header)
    first = 0
    end = 0
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
        stamp.pointee = (position / UInt64(Pattern.block)).bigEndian
        add(UnsafeRawPointer(stamp) + (offset - Pattern.plain), size)
      }
      position += UInt64(size)
      left -= size
    }
  }

  /// Sends what the kernel takes now; false when it would take no more.
  func send(to socket: Socket) throws(EndFailure) -> Bool {
    while isPending {
      var message = msghdr()
      message.msg_iov = pieces + first
      message.msg_iovlen = end - first
      var moved = sendmsg(socket.descriptor, &message, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
      if moved < 0 {
        if errno == EINTR { continue }
        if errno == EAGAIN { return false }
        throw .system("sending")
      }
      while first < end, moved >= pieces[first].iov_len {
        moved -= pieces[first].iov_len
        first += 1
      }
      if first < end {
        pieces[first].iov_base += moved
        pieces[first].iov_len -= moved
      }
    }
    return true
  }

  private func add(_ bytes: UnsafeRawPointer, _ count: Int) {
    pieces[end] = iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes), iov_len: count)
    end += 1
  }
}
