// The origin of a connection, as far as it is known before authentication.

/// The key of quotas and budgets. A client cannot choose it freely: the kernel reports the user of a local client, and
/// a network client's address has completed a TCP handshake.
public enum Origin: Hashable, Sendable, CustomStringConvertible {
  /// The user of a client on a UNIX socket.
  case user(UInt32)
  /// A network address. For IPv6 only the first 64 bits, because one host usually has all addresses that share them.
  case address([UInt8])
  /// The client disconnected before the broker could read its origin.
  case unknown

  /// The origin of a client with this address, in network byte order.
  public init(host: [UInt8]) { self = .address(host.count == 16 ? Array(host[..<8]) : host) }

  public var isRoot: Bool { self == .user(0) }

  public var description: String {
    switch self {
    case .user(let number): return "uid \(number)"
    case .address(let bytes) where bytes.count == 4:
      return bytes.map { "\($0)" }.joined(separator: ".")
    case .address(let bytes):
      let groups = stride(from: 0, to: bytes.count - 1, by: 2).map {
        String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16)
      }
      return groups.joined(separator: ":") + "::/64"
    case .unknown: return "an unknown address"
    }
  }
}
