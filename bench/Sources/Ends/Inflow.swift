// The receiving side of one end: packets, read in order from one buffer.
import Glibc
public import Streams

/// The receiving side of a connection. Take a header, then all of its body, then the next header.
///
/// Bodies are returned in the received pieces, which are valid until the next call. Only a packet header split across
/// two reads is copied. The buffer starts small, so that an idle connection costs little, and gets its full size when
/// a read fills it.
public final class Inflow {
  private let socket: Socket
  private var room: UnsafeMutableRawBufferPointer
  private let capacity: Int
  private static let smallest = 4096
  private var head = 0
  private var tail = 0
  /// Bytes of the current packet's body that have not been taken.
  public private(set) var bodyLeft = 0
  /// Called before a read that may block: the time to send queued packets.
  public var beforeBlocking: () throws(EndFailure) -> Void = {}

  public init(_ socket: Socket, capacity: Int = 262_144) {
    self.socket = socket
    self.capacity = max(capacity, Self.smallest)
    room = .allocate(byteCount: Self.smallest, alignment: 4096)
  }
  deinit { room.deallocate() }

  /// Whether a whole header has arrived already.
  public var hasHeader: Bool { bodyLeft == 0 && tail - head >= Limits.header }

  /// Whether there is something to take or to read without waiting.
  public var isReady: Bool { hasHeader || socket.wait(for: POLLIN, milliseconds: 0) != 0 }

  /// The next packet's header; nil if the peer closed between two packets.
  public func header() throws(EndFailure) -> PacketHeader? {
    try skipBody()
    while tail - head < Limits.header {
      guard try fill() else {
        if tail > head { throw EndFailure("the peer closed inside a packet header") }
        return nil
      }
    }
    return try bufferedHeader()
  }

  /// The next packet's header, if it has arrived and the previous body has been taken.
  func bufferedHeader() throws(EndFailure) -> PacketHeader? {
    guard hasHeader else { return nil }
    let header = PacketHeader(at: UnsafeRawPointer(room.baseAddress! + head))
    guard header.length >= UInt32(Limits.header), header.length <= UInt32(Limits.packet) else {
      throw EndFailure("a packet says it has \(header.length) bytes")
    }
    head += Limits.header
    bodyLeft = Int(header.length) - Limits.header
    return header
  }

  /// The next packet's header, if all of the packet has arrived. What was not taken of the packet before it is skipped.
  func wholePacket() throws(EndFailure) -> PacketHeader? {
    _ = bufferedPiece()
    guard hasHeader else { return nil }
    let header = PacketHeader(at: UnsafeRawPointer(room.baseAddress! + head))
    guard tail - head >= Int(clamping: header.length) else { return nil }
    return try bufferedHeader()
  }

  /// The next piece of the body, empty at its end.
  public func piece() throws(EndFailure) -> UnsafeRawBufferPointer {
    if bodyLeft == 0 { return UnsafeRawBufferPointer(start: nil, count: 0) }
    if head == tail, try !fill() { throw EndFailure("the peer closed inside a packet") }
    return bufferedPiece()
  }

  /// The part of the body that has arrived and has not been taken.
  func bufferedPiece() -> UnsafeRawBufferPointer {
    let count = min(bodyLeft, tail - head)
    defer {
      head += count
      bodyLeft -= count
    }
    return UnsafeRawBufferPointer(rebasing: room[head..<head + count])
  }

  /// The whole body in one piece. Only for small bodies, which fit into the buffer.
  public func body() throws(EndFailure) -> UnsafeRawBufferPointer {
    guard bodyLeft <= capacity else {
      throw EndFailure("a body of \(bodyLeft) bytes is too long")
    }
    while tail - head < bodyLeft {
      guard try fill() else { throw EndFailure("the peer closed inside a packet") }
    }
    return try piece()
  }

  /// Reads once if data are available. Returns whether they were.
  func receive() throws(EndFailure) -> Bool {
    makeRoom()
    guard let count = try socket.receive(into: free, waiting: false) else { return false }
    guard count > 0 else { throw EndFailure("the peer closed the connection") }
    tail += count
    return true
  }

  private func skipBody() throws(EndFailure) {
    while bodyLeft > 0 { _ = try piece() }
  }

  /// Makes space and reads once. Returns false at the end.
  private func fill() throws(EndFailure) -> Bool {
    try beforeBlocking()
    makeRoom()
    let count = try socket.receive(into: free, waiting: true) ?? 0
    tail += count
    return count > 0
  }

  private var free: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: room[tail...])
  }

  private func makeRoom() {
    // The buffer is full only after a full read, or when a body is wanted in one piece.
    if tail == room.count, room.count < capacity { grow() }
    if head == tail {
      head = 0
      tail = 0
    } else if tail - head < Limits.header || bodyLeft > room.count - head || tail == room.count {
      memmove(room.baseAddress!, room.baseAddress! + head, tail - head)
      tail -= head
      head = 0
    }
  }

  private func grow() {
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 4096)
    memcpy(larger.baseAddress!, room.baseAddress! + head, tail - head)
    room.deallocate()
    room = larger
    tail -= head
    head = 0
  }
}
