// Socket addresses: making them from settings, reading them for the log.
import Glibc

/// One address that a socket can be bound or connected to, in the kernel's form.
struct Address {
  private var storage: [UInt8]

  private init(_ bytes: UnsafeRawBufferPointer) { storage = Array(bytes) }

  var family: Int32 {
    storage.withUnsafeBytes { bytes in
      bytes.count >= 2 ? Int32(bytes.loadUnaligned(as: sa_family_t.self)) : AF_UNSPEC
    }
  }

  func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R? {
    storage.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return nil }
      return body(base.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
    }
  }

  /// A UNIX socket's path. Nil: longer than the kernel allows.
  static func unix(_ path: String) -> Address? {
    UnixAddress(path)?.withPointer {
      Address(UnsafeRawBufferPointer(start: $0, count: Int($1)))
    }
  }

  /// Every address `host` and `port` resolve to; without a host, those of the whole machine.
  static func resolve(host: String?, port: String) throws(BrokerFailure) -> [Address] {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE
    var list: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host, port, &hints, &list)
    guard status == 0 else {
      let reason = status == EAI_SYSTEM ? errorText(errno) : String(cString: gai_strerror(status))
      throw BrokerFailure(.addressNotResolved, [host ?? "*", port, reason])
    }
    defer { freeaddrinfo(list) }
    var found: [Address] = []
    var next = list
    while let entry = next {
      if let address = entry.pointee.ai_addr {
        found.append(
          Address(UnsafeRawBufferPointer(start: address, count: Int(entry.pointee.ai_addrlen))))
      }
      next = entry.pointee.ai_next
    }
    return found
  }

  /// The other end of a connected socket.
  static func peer(of descriptor: Int32) -> Address? { named(descriptor, getpeername) }
  /// This end of a socket.
  static func local(of descriptor: Int32) -> Address? { named(descriptor, getsockname) }

  /// Accepts the next connection of a listening socket and returns its descriptor, or the kernel's negative result.
  /// `peer` becomes the address of its other end.
  static func accept(_ listening: Int32, _ peer: inout Address?) -> Int32 {
    var number: Int32 = -1
    peer = named(listening) { listening, address, length in
      number = Glibc.accept(listening, address, length)
      return number < 0 ? -1 : 0
    }
    return number
  }

  private static func named(
    _ descriptor: Int32,
    _ ask: (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32
  ) -> Address? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutableBytes(of: &storage) { bytes in
      guard let base = bytes.baseAddress,
        ask(descriptor, base.assumingMemoryBound(to: sockaddr.self), &length) == 0
      else { return nil }
      return Address(UnsafeRawBufferPointer(rebasing: bytes[..<min(Int(length), bytes.count)]))
    }
  }

  /// The bytes of the host's address. An IPv4 address in IPv6 form has its four IPv4 bytes.
  var host: [UInt8]? {
    storage.withUnsafeBytes { bytes in
      switch family {
      case AF_INET where bytes.count >= 8: return Array(bytes[4..<8])
      case AF_INET6 where bytes.count >= 24:
        let host = Array(bytes[8..<24])
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
        return host.starts(with: mapped) ? Array(host[12...]) : host
      default: return nil
      }
    }
  }

  /// The port; nil: the address has none.
  var port: UInt16? {
    storage.withUnsafeBytes { bytes in
      guard family == AF_INET || family == AF_INET6, bytes.count >= 4 else { return nil }
      return UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    }
  }

  /// Whether it stands for every address of the machine.
  var isWildcard: Bool { host?.allSatisfy { $0 == 0 } ?? false }

  /// Whether it is one of this machine's addresses: only these can be bound.
  var isOfThisMachine: Bool {
    var own = self
    own.storage.withUnsafeMutableBytes { bytes in
      if bytes.count >= 4 { bytes.storeBytes(of: 0, toByteOffset: 2, as: UInt16.self) }
    }
    let probe = Descriptor(socket(family, socketKind, 0))
    return probe.number >= 0 && own.withPointer { bind(probe.number, $0, $1) } == 0
  }

  /// `127.0.0.1:16509`, `[::1]:16509`; empty for a UNIX socket.
  var text: String {
    guard family == AF_INET || family == AF_INET6 else { return "" }
    var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    var port = [CChar](repeating: 0, count: Int(NI_MAXSERV))
    let status = withPointer { address, length in
      getnameinfo(
        address, length, &host, socklen_t(host.count), &port, socklen_t(port.count),
        NI_NUMERICHOST | NI_NUMERICSERV)
    }
    guard status == 0 else { return "" }
    func string(_ characters: [CChar]) -> String {
      String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    return family == AF_INET6
      ? "[\(string(host))]:\(string(port))" : "\(string(host)):\(string(port))"
  }
}
