// The synthetic daemon: listens on a UNIX socket and serves each connection on a thread of its own.
import Glibc

/// A stand-in for a libvirt daemon that costs next to nothing, so that what is measured is the way to it.
///
/// It answers what clients and relays ask on opening, looks up any object by name, sources and sinks
/// volume streams, sinks migrations and echoes consoles. Two names mean something: looking up the
/// domain `hold=N` is answered after N milliseconds, and a download of the volume `message=N`
/// comes in packets of N bytes.
public final class Endpoint: Sendable {
  /// What every connection is served with.
  struct Settings: Sendable {
    /// What a download of length 0 ("to the end") carries, in bytes.
    var volumeBytes: UInt64 = 1 << 30
    /// What a packet of a download carries, in bytes; nil for libvirt's way with files.
    var message: Int?
    /// Whether uploads are compared with the pattern, and a difference ends the stream with an error.
    var isChecking = false
    /// Whether a connection begins with the byte by which a TLS server says that it takes its client: for
    /// a relay in front that ends TLS and does not know of it.
    var isWelcoming = false
  }

  static let holdPrefix = "hold="
  static let messagePrefix = "message="

  private let listener: Socket
  private let path: String
  private let settings: Settings

  public init(
    path: String, volumeBytes: UInt64 = 1 << 30, message: Int? = nil, isChecking: Bool = false,
    isWelcoming: Bool = false
  ) throws(EndFailure) {
    if let message, !(1...Transfer.largestMessage).contains(message) {
      throw EndFailure("a packet carries 1 to \(Transfer.largestMessage) bytes")
    }
    self.path = path
    settings = Settings(
      volumeBytes: volumeBytes, message: message, isChecking: isChecking, isWelcoming: isWelcoming)
    listener = try Socket.listen(at: path)
  }

  /// Accepts until stopped. Connections go on by themselves.
  public func run() {
    while true {
      let descriptor = accept(listener.descriptor, nil, nil)
      if descriptor < 0 {
        switch errno {
        case EINTR, ECONNABORTED: continue
        case EMFILE, ENFILE, ENOMEM, ENOBUFS:
          usleep(10_000)
          continue
        default: return
        }
      }
      let socket = Socket(owning: descriptor)
      let settings = settings
      try? detach {
        // A peer that goes away or talks nonsense ends its own connection, and that is all of it.
        try? EndpointConnection(socket, settings).serve()
      }
    }
  }

  /// Makes `run` return and takes the socket away.
  public func stop() {
    shutdown(listener.descriptor, Int32(SHUT_RDWR))
    unlink(path)
  }
}
