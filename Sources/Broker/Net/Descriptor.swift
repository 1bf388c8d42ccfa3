// A file descriptor with one owner.
import Glibc
import Streams

/// An open descriptor, closed when the value is destroyed.
struct Descriptor: ~Copyable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { if number >= 0 { close(number) } }

  /// Gives up the descriptor without closing it.
  consuming func release() -> Int32 {
    let number = number
    discard self
    return number
  }
}

/// Closes the socket of a UNIX connection, and the descriptors received over it, beside the loop.
struct ForeignDescriptors {
  let closer: Closer
  /// The origin that the descriptors count for.
  let origin: Origin

  /// Counts a received descriptor. False: too many are open.
  func tryReserve() -> Bool { closer.tryReserve(for: origin) }
  /// Closes a descriptor, whether it was reserved or not.
  func close(_ descriptor: Int32, isCounted: Bool = true) {
    closer.close(descriptor, for: origin, isCounted: isCounted)
  }
}

/// The process's limit of open descriptors.
func descriptorLimit() -> Int {
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
  return Int(clamping: limit.rlim_cur)
}

/// The kernel's text for an errno.
func errorText(_ number: Int32) -> String { String(cString: strerror(number)) }
