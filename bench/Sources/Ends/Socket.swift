// Blocking sockets: where to connect, and how to wait for one.
import Glibc

/// What went wrong at one end, in one sentence for the person at the terminal.
public struct EndFailure: Error, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }

  static func system(_ what: String, _ code: Int32 = errno) -> EndFailure {
    EndFailure("\(what): \(String(cString: strerror(code)))")
  }
}

/// Where a daemon or a relay listens: `unix:PATH` or `tcp:HOST:PORT`.
public enum Place: Sendable, Equatable, CustomStringConvertible {
  case unix(path: String)
  case tcp(host: String, port: String)

  public init?(_ text: String) {
    if text.hasPrefix("unix:"), text.utf8.count > 5 {
      self = .unix(path: String(text.dropFirst(5)))
    } else if text.hasPrefix("tcp:"), let colon = text.lastIndex(of: ":"),
      case let start = text.index(text.startIndex, offsetBy: 4), start < colon
    {
      var host = text[start..<colon]
      if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
      self = .tcp(host: String(host), port: String(text[text.index(after: colon)...]))
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .unix(let path): "unix:\(path)"
    case .tcp(let host, let port):
      host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
    }
  }
}

/// One connected or listening socket. Closed when released.
public final class Socket: Sendable {
  public let descriptor: Int32

  public init(owning descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  /// Connects, with TCP_NODELAY on TCP as libvirt's clients and servers have it.
  public static func connect(to place: Place) throws(EndFailure) -> Socket {
    switch place {
    case .unix(let path):
      let socket = try make(AF_UNIX)
      try withUnixAddress(path) { address, size throws(EndFailure) in
        guard Glibc.connect(socket.descriptor, address, size) == 0 else {
          throw .system("connecting to \(place)")
        }
      }
      return socket
    case .tcp(let host, let port):
      var hints = addrinfo()
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      var found: UnsafeMutablePointer<addrinfo>?
      let code = getaddrinfo(host, port, &hints, &found)
      guard code == 0, let found else {
        throw EndFailure("resolving \(place): \(String(cString: gai_strerror(code)))")
      }
      defer { freeaddrinfo(found) }
      let socket = try make(found.pointee.ai_family)
      guard Glibc.connect(socket.descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0
      else { throw .system("connecting to \(place)") }
      var one: Int32 = 1
      setsockopt(
        socket.descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one,
        socklen_t(MemoryLayout.size(ofValue: one)))
      return socket
    }
  }

  /// Listens on a UNIX socket, in place of one that may have been left at `path`.
  public static func listen(at path: String) throws(EndFailure) -> Socket {
    let socket = try make(AF_UNIX)
    unlink(path)
    try withUnixAddress(path) { address, size throws(EndFailure) in
      guard bind(socket.descriptor, address, size) == 0 else {
        throw .system("binding \(path)")
      }
    }
    guard Glibc.listen(socket.descriptor, 1024) == 0 else { throw .system("listening on \(path)") }
    return socket
  }

  /// A TCP port of 127.0.0.1 that was free a moment ago.
  public static func freePort() throws(EndFailure) -> UInt16 {
    let socket = try make(AF_INET)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket.descriptor, $0, size) == 0 && getsockname(socket.descriptor, $0, &size) == 0
      }
    }
    guard code else { throw .system("looking for a free port") }
    return UInt16(bigEndian: address.sin_port)
  }

  /// Waits for any of `events`, at most `milliseconds` (-1: forever); what came, 0 if nothing did.
  public func wait(for events: Int32, milliseconds: Int32 = -1) -> Int32 {
    var item = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
    while true {
      let count = poll(&item, 1, milliseconds)
      if count < 0, errno == EINTR { continue }
      return count > 0 ? Int32(item.revents) : 0
    }
  }

  private static func make(_ family: Int32) throws(EndFailure) -> Socket {
    let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system("making a socket") }
    return Socket(owning: descriptor)
  }

  private static func withUnixAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws(EndFailure) -> Void
  ) throws(EndFailure) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < room else { throw EndFailure("the socket path \(path) is too long") }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    var failure: EndFailure?
    withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        do throws(EndFailure) { try body($0, size) } catch { failure = error }
      }
    }
    if let failure { throw failure }
  }
}
