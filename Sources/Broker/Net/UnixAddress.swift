// The address of a UNIX socket.
public import Glibc

/// A UNIX socket's address in the kernel's form. `@` at the front means an abstract address, without a file.
public struct UnixAddress {
  private var address = sockaddr_un()
  private var length = socklen_t(MemoryLayout<sa_family_t>.size)

  /// Nil: the path is empty, or longer than the kernel allows.
  public init?(_ path: String) {
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      return nil
    }
    if path.hasPrefix("@") { bytes[0] = 0 } else { bytes.append(0) }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    length += socklen_t(bytes.count)
  }

  public func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}
