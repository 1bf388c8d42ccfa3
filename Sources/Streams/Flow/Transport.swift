// The interface between the data flow and a socket.

/// The events that a descriptor is watched for.
public struct Interest: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let read = Interest(rawValue: 1)
  public static let write = Interest(rawValue: 2)
}

/// The result of one read or send. With TLS a read may have to wait for a write, and the reverse.
public enum Outcome: Equatable, Sendable {
  case moved(Int)
  case blocked(Interest)
  /// The peer has closed its side cleanly.
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

  /// The transport holds received bytes that the kernel does not announce. The owner calls `receive` without an event.
  var holdsBytes: Bool { get }

  /// Why the connection failed, if more is known than the errno.
  var error: Message? { get }

  /// Reads available bytes into `rooms`, in order. A received descriptor is stored in `descriptor`; it belongs to the
  /// last byte received. Without one, `descriptor` is unchanged.
  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome

  /// Sends bytes from the front of the runs, as many as the kernel or the transport's own buffer accepts. With no runs
  /// it sends the content of that buffer.
  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome

  /// Bytes that `send` has accepted and the kernel has not, in their encoded size. The owner waits for the socket's
  /// readiness to send them.
  var unsent: Int { get }

  // A pipe in the kernel, through which bytes reach this socket without being read. Its content is `unsent`.

  /// Provides a pipe to this socket for bytes that `source` receives. False: such bytes must be copied.
  func openPipe(from source: any Transport) -> Bool

  /// Appends bytes to the pipe's content. False: there is no room for all of them, and none was appended.
  func fillPipe(with bytes: UnsafeRawBufferPointer) -> Bool

  /// Moves up to `limit` bytes from what `source` has received to the pipe. `.moved(0)`: they must be copied.
  /// `.blocked(.read)`: `source` has none. `.blocked(.write)`: it has none, or the pipe has no room; the two cannot be
  /// told apart before the pipe is empty.
  func fillPipe(from source: any Transport, limit: Int) -> Outcome

  /// The pipe may be closed when it is empty, if there is one.
  func closePipe()

  /// Sends one zero byte with the descriptor attached. The caller still owns the descriptor.
  func send(descriptor: Int32) -> Outcome

  /// Closes a descriptor that is not forwarded.
  func discard(descriptor: Int32)
}

extension Transport {
  public var holdsBytes: Bool { false }
  public var unsent: Int { 0 }
  public var error: Message? { nil }
  public func openPipe(from source: any Transport) -> Bool { false }
  public func fillPipe(with bytes: UnsafeRawBufferPointer) -> Bool { false }
  public func fillPipe(from source: any Transport, limit: Int) -> Outcome { .moved(0) }
  public func closePipe() {}
}
