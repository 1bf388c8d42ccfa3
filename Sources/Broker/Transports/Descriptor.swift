// A file descriptor with one owner.
import Glibc

/// An open descriptor. Closes when it goes.
struct Descriptor: ~Copyable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { if number >= 0 { close(number) } }
}

/// The kernel's words for an errno.
func errorText(_ number: Int32) -> String { String(cString: strerror(number)) }
