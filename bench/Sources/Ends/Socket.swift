// Sockets: addresses, waiting, and sending and receiving bytes with or without TLS.
import CGnuTLS
import Glibc

/// A failure at one end, as one sentence for the user.
public struct EndFailure: Error, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }

  static func system(_ what: String, _ code: Int32 = errno) -> EndFailure {
    EndFailure("\(what): \(String(cString: strerror(code)))")
  }
}

/// The address of a daemon or a relay: `unix:PATH`, `tcp:HOST:PORT` or `tls:HOST:PORT`.
public enum Place: Sendable, Equatable, CustomStringConvertible {
  case unix(path: String)
  case tcp(host: String, port: String)
  /// The text of an address contains no credentials; a connection needs them.
  case tls(host: String, port: String, TLSCredentials? = nil)

  public init?(_ text: String) {
    if text.hasPrefix("unix:"), text.utf8.count > 5 {
      self = .unix(path: String(text.dropFirst(5)))
    } else if text.hasPrefix("tcp:") || text.hasPrefix("tls:"),
      let colon = text.lastIndex(of: ":"),
      case let start = text.index(text.startIndex, offsetBy: 4), start < colon
    {
      var host = text[start..<colon]
      if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
      let port = String(text[text.index(after: colon)...])
      self =
        text.hasPrefix("tcp:")
        ? .tcp(host: String(host), port: port) : .tls(host: String(host), port: port)
    } else {
      return nil
    }
  }

  public var description: String {
    func write(_ kind: String, _ host: String, _ port: String) -> String {
      host.contains(":") ? "\(kind):[\(host)]:\(port)" : "\(kind):\(host):\(port)"
    }
    return switch self {
    case .unix(let path): "unix:\(path)"
    case .tcp(let host, let port): write("tcp", host, port)
    case .tls(let host, let port, _): write("tls", host, port)
    }
  }
}

/// One connected or listening socket. Closed when released.
public final class Socket: Sendable {
  public let descriptor: Int32
  private let tls: TLSSession?
  /// Receiving fails after this many milliseconds without a byte; -1 means no limit.
  private let patience: Int32

  public convenience init(owning descriptor: Int32) { self.init(owning: descriptor, tls: nil) }

  init(owning descriptor: Int32, tls: TLSSession?, patience: Int32 = -1) {
    self.descriptor = descriptor
    self.tls = tls
    self.patience = patience
  }

  deinit { close(descriptor) }

  /// Connects, on TCP with TCP_NODELAY as libvirt's clients and servers do.
  ///
  /// On TCP `source` is the local IPv4 address, because one address has fewer than 65536 ports. Receiving fails after
  /// `patience` milliseconds without a byte; a negative value means no limit.
  public static func connect(
    to place: Place, from source: String? = nil, patience: Int32 = -1
  ) throws(EndFailure) -> Socket {
    switch place {
    case .unix(let path):
      let socket = try make(AF_UNIX, patience)
      try withUnixAddress(path) { address, size throws(EndFailure) in
        guard Glibc.connect(socket.descriptor, address, size) == 0 else {
          throw .system("connecting to \(place)")
        }
      }
      return socket
    case .tcp(let host, let port):
      return try connect(host, port, place, from: source, patience)
    case .tls(let host, let port, let credentials):
      guard let credentials else {
        throw EndFailure("\(place) needs credentials: a CA certificate at least")
      }
      let plain = try connect(host, port, place, from: source, patience)
      // The new socket owns the descriptor before anything can fail, so that it is closed once.
      let descriptor = dup(plain.descriptor)
      guard descriptor >= 0 else { throw .system("connecting to \(place)") }
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      let role: gnutls_init_flags_t = GNUTLS_CLIENT
      do throws(EndFailure) {
        let session = try TLSSession(role, over: descriptor, credentials, host: host)
        let socket = Socket(owning: descriptor, tls: session, patience: patience)
        try socket.shakeHands()
        try socket.awaitWelcome()
        return socket
      } catch {
        throw EndFailure("connecting to \(place): \(error)")
      }
    }
  }

  private static func connect(
    _ host: String, _ port: String, _ place: Place, from source: String?, _ patience: Int32
  ) throws(EndFailure) -> Socket {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, port, &hints, &found)
    guard code == 0, let found else {
      throw EndFailure("resolving \(place): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(found) }
    let socket = try make(found.pointee.ai_family, patience)
    if let source, found.pointee.ai_family == AF_INET { try socket.bindAddress(from: source) }
    guard Glibc.connect(socket.descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0
    else { throw .system("connecting to \(place)") }
    var one: Int32 = 1
    setsockopt(
      socket.descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one,
      socklen_t(MemoryLayout.size(ofValue: one)))
    return socket
  }

  /// Binds to a local address and lets the kernel choose the port when the socket connects.
  private func bindAddress(from source: String) throws(EndFailure) {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    guard inet_pton(AF_INET, source, &address.sin_addr) == 1 else {
      throw EndFailure("\(source) is not an IPv4 address")
    }
    var one: Int32 = 1
    let bindAddressNoPort: Int32 = 24
    setsockopt(
      descriptor, Int32(IPPROTO_IP), bindAddressNoPort, &one,
      socklen_t(MemoryLayout.size(ofValue: one)))
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
    }
    guard code == 0 else { throw .system("binding to \(source)") }
  }

  /// The time limit of a whole TLS handshake, in milliseconds.
  private static let handshakeTimeout: Int32 = 30_000

  func shakeHands() throws(EndFailure) {
    guard let tls else { return }
    while let events = try tls.shakeHands() {
      guard wait(for: events, milliseconds: Self.handshakeTimeout) != 0 else {
        throw EndFailure("the TLS handshake got no answer for 30 seconds")
      }
    }
  }

  /// A libvirt server sends one byte after it has accepted the client's certificate, or closes.
  private func awaitWelcome() throws(EndFailure) {
    var welcome: UInt8 = 0
    let count = try withUnsafeMutableBytes(of: &welcome) { room throws(EndFailure) in
      var count = try receive(into: room, waiting: false)
      while count == nil {
        guard wait(for: POLLIN, milliseconds: Self.handshakeTimeout) != 0 else {
          throw EndFailure("the server did not confirm our certificate for 30 seconds")
        }
        count = try receive(into: room, waiting: false)
      }
      return count
    }
    guard count == 1, welcome == 1 else {
      throw EndFailure("the server refused our certificate or our address")
    }
  }

  /// Receives the available bytes. Returns nil if there are none and `waiting` is false, and 0 at the end.
  func receive(into room: UnsafeMutableRawBufferPointer, waiting: Bool) throws(EndFailure) -> Int? {
    if let tls {
      while true {
        if let count = try tls.receive(into: room) { return count }
        if !waiting { return nil }
        try awaitBytes()
      }
    }
    if waiting, patience >= 0 { try awaitBytes() }
    while true {
      let count = recv(
        descriptor, room.baseAddress, room.count, waiting ? 0 : Int32(MSG_DONTWAIT))
      if count >= 0 { return count }
      if errno == EAGAIN, !waiting { return nil }
      if errno != EINTR { throw .system("receiving") }
    }
  }

  private func awaitBytes() throws(EndFailure) {
    guard wait(for: POLLIN, milliseconds: patience) != 0 else {
      throw EndFailure("no answer for \(patience / 1000) seconds")
    }
  }

  /// Sends the part of the pieces that the kernel accepts. Returns 0 if it accepts nothing and `waiting` is false;
  /// the next call must begin with the same bytes.
  func send(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int, waiting: Bool) throws(EndFailure)
    -> Int
  {
    if let tls {
      while true {
        let moved = try tls.send(pieces, count)
        if moved > 0 || !waiting { return moved }
        _ = wait(for: POLLOUT)
      }
    }
    var message = msghdr()
    message.msg_iov = pieces
    message.msg_iovlen = count
    while true {
      let moved = sendmsg(
        descriptor, &message, Int32(MSG_NOSIGNAL) | (waiting ? 0 : Int32(MSG_DONTWAIT)))
      if moved >= 0 { return moved }
      if errno == EAGAIN, !waiting { return 0 }
      if errno != EINTR { throw .system("sending") }
    }
  }

  /// Bytes given to the kernel that the peer has not received. On a UNIX socket the kernel counts the memory they
  /// occupy, which is more.
  public var unsent: Int {
    var count: Int32 = 0
    return ioctl(descriptor, UInt(TIOCOUTQ), &count) == 0 ? Int(count) : 0
  }

  /// Limits the bytes that the kernel queues for this socket in each direction, approximately.
  public func limitBuffers(to bytes: Int32) {
    var bytes = bytes
    for option in [SO_SNDBUF, SO_RCVBUF] {
      setsockopt(
        descriptor, SOL_SOCKET, option, &bytes, socklen_t(MemoryLayout.size(ofValue: bytes)))
    }
  }

  /// Listens on a UNIX socket. It replaces a socket that was left at `path`.
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

  /// Waits for any of `events`, at most `milliseconds` (-1: no limit). Returns the events; 0 if there were none.
  public func wait(for events: Int32, milliseconds: Int32 = -1) -> Int32 {
    if events & POLLIN != 0, let tls, tls.hasPending { return POLLIN }
    var item = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
    while true {
      let count = poll(&item, 1, milliseconds)
      if count < 0, errno == EINTR { continue }
      return count > 0 ? Int32(item.revents) : 0
    }
  }

  /// Waits for any of `events` or for the timer.
  func wait(for events: Int32, or timer: Timer) {
    if events & POLLIN != 0, let tls, tls.hasPending { return }
    withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { items in
      items[0] = pollfd(
        fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
      items[1] = pollfd(fd: timer.descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(items.baseAddress, 2, -1)
    }
  }

  private static func make(_ family: Int32, _ patience: Int32 = -1) throws(EndFailure) -> Socket {
    let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system("making a socket") }
    return Socket(owning: descriptor, tls: nil, patience: patience)
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
