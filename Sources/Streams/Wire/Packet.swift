// The constants of libvirt's RPC protocol that the relay needs.

/// The kind of a packet: the header word `type`. Any number can arrive, so this is an open set.
public struct PacketKind: RawRepresentable, Equatable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let call = PacketKind(rawValue: 0)
  public static let reply = PacketKind(rawValue: 1)
  /// An event, or a keepalive packet.
  public static let message = PacketKind(rawValue: 2)
  public static let stream = PacketKind(rawValue: 3)
  /// A call whose body starts with a count of descriptors, which follow on carrier bytes.
  public static let callWithDescriptors = PacketKind(rawValue: 4)
  public static let replyWithDescriptors = PacketKind(rawValue: 5)
  /// Part of a sparse stream that is skipped instead of sent.
  public static let streamHole = PacketKind(rawValue: 6)
}

/// The status of a packet: the header word `status`. Any number can arrive, so this is an open set.
public struct PacketStatus: RawRepresentable, Equatable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// A call, an event or a successful reply; on a stream: finish (client) or confirmation (server).
  public static let ok = PacketStatus(rawValue: 0)
  /// A failed reply; on a stream: abort (client) or failure (server).
  public static let error = PacketStatus(rawValue: 1)
  /// Stream data; without payload, the end of the data.
  public static let `continue` = PacketStatus(rawValue: 2)
}

/// The RPC programs of a libvirt daemon's sockets. All are version 1.
public enum Program {
  public static let remote: UInt32 = 0x2000_8086
  public static let qemu: UInt32 = 0x2000_8087
  public static let lxc: UInt32 = 0x0006_8000
  /// "keep". Each hop handles it by itself, below the dispatcher.
  public static let keepAlive: UInt32 = 0x6b65_6570
  /// Only on the admin socket.
  public static let admin: UInt32 = 0x0690_0690
  /// "vbrk": the broker's own program, also on the admin socket.
  public static let broker: UInt32 = 0x7662_726b
  public static let version: UInt32 = 1
}

/// Procedures of the REMOTE program that the broker answers, sends or evaluates.
public enum Remote {
  public static let connectOpen: Int32 = 1
  public static let connectClose: Int32 = 2
  public static let connectSupportsFeature: Int32 = 60
  public static let authList: Int32 = 66
  public static let authSASLInit: Int32 = 67
  public static let authSASLStart: Int32 = 68
  public static let authSASLStep: Int32 = 69
  public static let authPolkit: Int32 = 70
  public static let connectGetURI: Int32 = 110
  public static let storageVolUpload: Int32 = 208
  public static let storageVolDownload: Int32 = 209
  public static let connectRegisterCloseCallback: Int32 = 360
  public static let connectUnregisterCloseCallback: Int32 = 361
  public static let connectEventConnectionClosed: Int32 = 362
  public static let connectSetIdentity: Int32 = 419
}

/// Procedures of the keepalive program.
public enum KeepAliveProcedure {
  public static let ping: Int32 = 1
  public static let pong: Int32 = 2
}

/// Limits of the protocol. Source: libvirt's virnetprotocol.x; 9.0.0 and 11.3.0 have the same values.
public enum Limits {
  /// The header in bytes: the length word and the six words after it.
  public static let header = 28
  /// The largest value of a length word, in bytes: 32 MiB and the four bytes of the word itself.
  public static let packet = 33_554_436
  /// The most stream payload libvirt itself puts into one packet, in bytes.
  public static let usualPayload = 262_120
  /// A packet with that payload, in bytes. Larger ones are legal and rare.
  public static let usualPacket = header + usualPayload
  /// The largest reply that the broker reads itself, in bytes. An error can contain the longest name that the broker
  /// forwards three times.
  public static let ownReply = 4 * usualPacket
  /// Any string, in bytes.
  public static let string = 4_194_304
  /// Descriptors of one packet.
  public static let descriptors = 32
  /// Typed parameters in one CONNECT_SET_IDENTITY.
  public static let identityParameters = 20
  /// Typed parameters of one migration.
  public static let migrationParameters = 64
  /// The name of a typed parameter, in bytes.
  public static let parameterField = 79
  /// Characters in one piece of a SASL exchange.
  public static let saslData = 65_536
  /// Servers, or clients, in one list of the admin interface.
  public static let adminList = 16_384
  /// Typed parameters of a server, and of a client.
  public static let adminParameters = 32
  public static let adminClientParameters = 64
  /// Authentication types in one AUTH_LIST reply.
  public static let authTypes = 20
}
