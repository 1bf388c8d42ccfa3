// The seam between bytes and kernel: all that the data flow knows of a socket.

/// What a descriptor is watched for.
public struct Interest: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let read = Interest(rawValue: 1)
  public static let write = Interest(rawValue: 2)
}

/// What one attempt to move bytes came to. TLS may block a read on a write, and the reverse.
public enum Outcome: Equatable, Sendable {
  case moved(Int)
  case blocked(Interest)
  /// The peer has closed its side in good order.
  case end
  /// The connection is over, with this errno.
  case failed(Int32)
}

/// One run of bytes in memory. Laid out like the kernel's `iovec`, so an array of them is one.
@frozen
public struct Run {
  public var base: UnsafeMutableRawPointer?
  public var count: Int
  @inlinable
  public init(base: UnsafeMutableRawPointer?, count: Int) {
    self.base = base
    self.count = count
  }
}

/// A plain socket, a TLS session, or a test's script.
public protocol Transport: AnyObject {
  /// Whether descriptors can travel with the bytes: only on UNIX sockets.
  var carriesDescriptors: Bool { get }

  /// `receive` would give something that the kernel does not announce: the owner has to call it without an event.
  var holdsBytes: Bool { get }

  /// Why the connection failed, where that is more than the errno says.
  var error: Message? { get }

  /// Fills the rooms in order, never more than the kernel has. A descriptor that came along is put into
  /// `descriptor` (else that stays as it is): it belongs to the last byte received.
  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome

  /// Takes bytes from the front of the runs, as many as the kernel or a buffer of the transport's own has room
  /// for. With no runs it sends what waits in that buffer.
  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome

  /// Bytes that `send` has taken and the kernel has not, as they travel: the socket's readiness must be awaited
  /// for them, too.
  var unsent: Int { get }

  /// Sends one zero byte with the descriptor attached. The caller still owns the descriptor.
  func send(descriptor: Int32) -> Outcome

  /// Ends a descriptor that will not be passed on.
  func discard(descriptor: Int32)
}

extension Transport {
  public var holdsBytes: Bool { false }
  public var unsent: Int { 0 }
  public var error: Message? { nil }
}
