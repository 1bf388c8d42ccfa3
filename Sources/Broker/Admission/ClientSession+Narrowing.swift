// Limits what the kernel receives of a rate-limited upload: everything behind it on the connection waits for it.
import Glibc

extension ClientSession {
  /// Size of the receive buffer, in seconds at the rate, in addition to two round trips. At most the buffer's size is
  /// in flight in one round trip, so with less the client could not use its rate on a long path. The client's kernel
  /// accepts several times as much from its program in advance: a keystroke behind an upload of 10 MiB/s over virtual
  /// Ethernet waited 0.63 s with 50 ms of the rate, and 0.30 s with this.
  private static let heldSeconds = 0.01
  /// Seconds, if the kernel does not report the round trip.
  private static let usualRoundTrip = 0.02
  /// Minimum in bytes.
  private static let leastHeld = 64.0 * 1024
  /// Maximum in bytes. If the rate needs more, the buffer keeps the kernel's size.
  private static let mostHeld = 4.0 * 1024 * 1024

  /// Limits the receive buffer for a stream to the daemon with this rate, in bytes a second. A later keystroke or call
  /// on the same connection waits at that rate for what the kernel has already received. With several streams the
  /// highest rate counts. UNIX sockets hold little, and the sender chooses how much.
  func narrow(to rate: Double) {
    let seconds = ClientSession.heldSeconds + 2 * (roundTrip ?? ClientSession.usualRoundTrip)
    let held = max(ClientSession.leastHeld, rate * seconds)
    guard held <= ClientSession.mostHeld, Double(mostHeldByKernel) < held,
      source.transportName != "unix"
    else { return }
    mostHeldByKernel = Int32(held)
    // SO_RCVBUFFORCE may exceed net.core.rmem_max, but needs a privilege.
    if setOption(transport.number, SOL_SOCKET, SO_RCVBUFFORCE, mostHeldByKernel) { return }
    setOption(transport.number, SOL_SOCKET, SO_RCVBUF, mostHeldByKernel)
    var size: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    // The kernel doubles the value that was set, for its own overhead.
    guard getsockopt(transport.number, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0,
      size / 2 >= mostHeldByKernel
    else { return widen() }
  }

  /// The shortest round trip of this connection, in seconds: delays in queues must not enlarge the buffer.
  private var roundTrip: Double? {
    // Offset of tcpi_min_rtt in the kernel's struct tcp_info, in microseconds. The C library's struct ends before it.
    let place = 148
    return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { info in
      var length = socklen_t(info.count)
      guard
        getsockopt(transport.number, Int32(IPPROTO_TCP), TCP_INFO, info.baseAddress, &length) == 0,
        length >= place + 4
      else { return nil }
      let micros = info.load(fromByteOffset: place, as: UInt32.self)
      return micros == .max ? nil : Double(micros) / 1e6
    }
  }

  /// Returns the size of the buffer to the kernel's choice. Kernels before 5.14 cannot do that.
  func widen() {
    guard mostHeldByKernel > 0 else { return }
    mostHeldByKernel = 0
    setOption(transport.number, SOL_SOCKET, SO_BUF_LOCK, 0)
  }
}
