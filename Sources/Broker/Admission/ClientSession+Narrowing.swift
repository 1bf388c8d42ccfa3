// What the kernel holds of a client's upload that has a rate: all that stands behind it waits for it.
import Glibc

extension ClientSession {
  /// In seconds of the rate, beside two round trips of it: no more than what is held is under way in one, so less would
  /// keep a client from using its rate over a long way. The client's kernel takes several times as much from its
  /// program in advance: a keystroke behind an upload of 10 MiB/s over virtual Ethernet waited 0.63 s with 50 ms of
  /// the rate, and 0.30 s with this.
  private static let heldSeconds = 0.01
  /// Where the kernel does not tell the round trip.
  private static let usualRoundTrip = 0.02
  /// In bytes, at least.
  private static let leastHeld = 64.0 * 1024
  /// Where more would be needed, the client's kernel takes as much as it may anyway.
  private static let mostHeld = 4.0 * 1024 * 1024

  /// A stream to the daemon is kept to so many bytes a second. What the kernel has taken from the client by the time
  /// a keystroke or a call follows on the same connection passes at that rate. Of several streams the fastest
  /// counts. UNIX sockets hold little, and by the sender's choice.
  func narrow(to rate: Double) {
    let seconds = ClientSession.heldSeconds + 2 * (roundTrip ?? ClientSession.usualRoundTrip)
    let held = max(ClientSession.leastHeld, rate * seconds)
    guard held <= ClientSession.mostHeld, Double(mostHeldByKernel) < held,
      source.transportName != "unix"
    else { return }
    mostHeldByKernel = Int32(held)
    // Past net.core.rmem_max only with the right to.
    if setOption(transport.number, SOL_SOCKET, SO_RCVBUFFORCE, mostHeldByKernel) { return }
    setOption(transport.number, SOL_SOCKET, SO_RCVBUF, mostHeldByKernel)
    var size: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    // The kernel doubles the value that was set, for its own overhead.
    guard getsockopt(transport.number, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0,
      size / 2 >= mostHeldByKernel
    else { return widen() }
  }

  /// The shortest there was on this connection, in seconds: what waits somewhere is not to be made room for.
  private var roundTrip: Double? {
    // tcpi_min_rtt of the kernel's struct tcp_info, in microseconds; the C library's own ends before it.
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

  /// The kernel chooses the size of its buffer again. Kernels before 5.14 cannot.
  func widen() {
    guard mostHeldByKernel > 0 else { return }
    mostHeldByKernel = 0
    setOption(transport.number, SOL_SOCKET, SO_BUF_LOCK, 0)
  }
}
