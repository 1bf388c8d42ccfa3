// The synthetic daemon: it listens on a UNIX socket and serves each connection on a thread of its own.
import Glibc

/// A replacement for a libvirt daemon at minimal cost, so that a measurement shows the cost of the way to it.
///
/// It answers the calls that clients and relays make on opening, looks up any object by name, sources and sinks
/// volume streams, sinks migrations and echoes consoles. Three names have a meaning: a look-up of the domain `hold=N`
/// is answered after N milliseconds, a download of the volume `message=N` arrives in packets of N bytes, and a callback
/// for events of the domain `events=N` gets N events per second.
public final class Endpoint: Sendable {
  /// The settings of every connection.
  struct Settings: Sendable {
    /// The size of a download of length 0 ("to the end"), in bytes.
    var volumeBytes: UInt64 = 1 << 30
    /// The payload of a download's packet, in bytes; nil means the sizes that libvirt uses for files.
    var message: Int?
    /// Whether uploads are compared with the pattern. A difference ends the stream with an error.
    var isChecking = false
    /// Whether a connection begins with the byte by which a TLS server accepts its client, for a relay that
    /// terminates TLS and does not send that byte.
    var isWelcoming = false
  }

  static let holdPrefix = "hold="
  static let messagePrefix = "message="
  static let eventsPrefix = "events="

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

  /// Accepts connections until stopped. Existing connections continue by themselves.
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
        // A peer that disconnects or sends invalid data ends only its own connection.
        try? EndpointConnection(socket, settings).serve()
      }
    }
  }

  /// Makes `run` return and removes the socket.
  public func stop() {
    shutdown(listener.descriptor, Int32(SHUT_RDWR))
    unlink(path)
  }
}
