// The synthetic daemon: listens on a UNIX socket and serves each connection on a thread of its own.
import Glibc

/// A stand-in for a libvirt daemon that costs next to nothing, so that what is measured is the way to it.
public final class Endpoint: Sendable {
  private let listener: Socket
  private let path: String
  /// What a download of length 0 ("to the end") carries, in bytes.
  private let volumeBytes: UInt64
  /// Whether uploads are compared with the pattern, and a difference ends the stream with an error.
  private let isChecking: Bool

  public init(path: String, volumeBytes: UInt64 = 1 << 30, isChecking: Bool = false)
    throws(EndFailure)
  {
    self.path = path
    self.volumeBytes = volumeBytes
    self.isChecking = isChecking
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
      let (volumeBytes, isChecking) = (volumeBytes, isChecking)
      try? detach {
        // A peer that goes away or talks nonsense ends its own connection, and that is all of it.
        try? EndpointConnection(socket, volumeBytes: volumeBytes, isChecking: isChecking).serve()
      }
    }
  }

  /// Makes `run` return and takes the socket away.
  public func stop() {
    shutdown(listener.descriptor, Int32(SHUT_RDWR))
    unlink(path)
  }
}
