// What the kernel holds of a client's upload that has a rate: all that stands behind it waits for it.
import Glibc

extension ClientSession {
  /// In seconds of the rate, and in bytes at least. Too little would keep a client from using its rate over a long
  /// way: no more than this is under way in one round trip.
  private static let heldSeconds = 0.05
  private static let leastHeld = 64.0 * 1024
  /// With more than this the wait is too short to be worth it.
  private static let mostHeld = 4.0 * 1024 * 1024

  /// A stream to the daemon is kept to so many bytes a second. What the kernel has taken from the client by the time
  /// a keystroke or a call follows on the same connection passes at that rate. Of several streams the fastest
  /// counts. UNIX sockets hold little, and by the sender's choice.
  func narrow(to rate: Double) {
    let held = max(ClientSession.leastHeld, rate * ClientSession.heldSeconds)
    guard held <= ClientSession.mostHeld, Double(mostHeldByKernel) < held, transportName != "unix"
    else { return }
    mostHeldByKernel = Int32(held)
    // Past net.core.rmem_max only with the right to.
    if setOption(transport.number, SOL_SOCKET, SO_RCVBUFFORCE, mostHeldByKernel) { return }
    setOption(transport.number, SOL_SOCKET, SO_RCVBUF, mostHeldByKernel)
    var size: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    // The kernel counts twice what it was told, for what it needs itself.
    guard getsockopt(transport.number, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0,
      size / 2 >= mostHeldByKernel
    else { return widen() }
  }

  /// The kernel holds as much as it thinks right again. Kernels before 5.14 cannot be told to.
  func widen() {
    guard mostHeldByKernel > 0 else { return }
    mostHeldByKernel = 0
    setOption(transport.number, SOL_SOCKET, SO_BUF_LOCK, 0)
  }
}
