// Where a connection comes from, as far as that is known before it has authenticated.

/// What budgets are counted by. A client cannot choose it freely: the kernel vouches for the user of a local
/// client, and the address of another one has answered a TCP handshake.
public enum Origin: Hashable, Sendable, CustomStringConvertible {
  /// The user of a client on a UNIX socket.
  case user(UInt32)
  /// A network address; of IPv6 the first 64 bits, since one host usually has all addresses that share them.
  case address([UInt8])
  /// The client was gone before it could be asked.
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
