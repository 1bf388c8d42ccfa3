// A file descriptor with one owner.
import Glibc
import Streams

/// An open descriptor. Closes when it goes.
struct Descriptor: ~Copyable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { if number >= 0 { close(number) } }

  /// Gives it up without closing it.
  consuming func release() -> Int32 {
    let number = number
    discard self
    return number
  }
}

/// Closes the socket of a UNIX connection, and the descriptors that come over it, beside the loop.
struct ForeignDescriptors {
  let closer: Closer
  /// Whose they are.
  let origin: Origin

  /// One has come: false if there are too many open.
  func tryReserve() -> Bool { closer.tryReserve(for: origin) }
  /// Closes one that was reserved, or none.
  func close(_ descriptor: Int32, isCounted: Bool = true) {
    closer.close(descriptor, for: origin, isCounted: isCounted)
  }
}

/// The most descriptors that this process may have open.
func descriptorLimit() -> Int {
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
  return Int(clamping: limit.rlim_cur)
}

/// The kernel's words for an errno.
func errorText(_ number: Int32) -> String { String(cString: strerror(number)) }
