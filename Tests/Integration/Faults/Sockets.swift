// Sockets for the faulty links and the synthetic daemon.
import Foundation

enum Sockets {
  /// A listening socket, and its port.
  static func listen(at address: FaultyWire.Address) throws -> (Int32, Int) {
    let descriptor = try make(address)
    var port = 0
    if case .unix(let path) = address { unlink(path) }
    guard withAddress(address, { bind(descriptor, $0, $1) }) == 0,
      Glibc.listen(descriptor, 4096) == 0
    else {
      close(descriptor)
      throw Trouble("cannot listen at \(address): \(errnoText())")
    }
    if case .tcp = address {
      var bound = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      _ = withUnsafeMutablePointer(to: &bound) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          getsockname(descriptor, $0, &length)
        }
      }
      port = Int(UInt16(bigEndian: bound.sin_port))
    }
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    return (descriptor, port)
  }

  static func connect(to address: FaultyWire.Address) throws -> Int32 {
    let descriptor = try make(address)
    guard withAddress(address, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
      close(descriptor)
      throw Trouble("cannot connect to \(address): \(errnoText())")
    }
    return descriptor
  }

  /// Makes the socket non-blocking and sets TCP_NODELAY.
  static func prepare(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(4))
  }

  private static func make(_ address: FaultyWire.Address) throws -> Int32 {
    let family = if case .unix = address { AF_UNIX } else { AF_INET }
    let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Trouble("no socket: \(errnoText())") }
    return descriptor
  }

  private static func withAddress(
    _ address: FaultyWire.Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    switch address {
    case .unix(let path):
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
        errno = ENAMETOOLONG
        return -1
      }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
    case .tcp(let port):
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = in_port_t(truncatingIfNeeded: port).bigEndian
      address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
  }
}
