// The 28 bytes in front of every packet, read in place.

/// A packet's header. Every field is as received and unchecked.
public struct PacketHeader: Equatable, Sendable {
  /// The whole packet in bytes, this word included, descriptor carriers excluded.
  public var length: UInt32
  public var program: UInt32
  public var version: UInt32
  public var procedure: Int32
  public var kind: PacketKind
  public var serial: UInt32
  public var status: PacketStatus

  @inlinable
  public init(
    length: UInt32 = UInt32(Limits.header), program: UInt32 = Program.remote,
    version: UInt32 = Program.version, procedure: Int32, kind: PacketKind, serial: UInt32,
    status: PacketStatus = .ok
  ) {
    self.length = length
    self.program = program
    self.version = version
    self.procedure = procedure
    self.kind = kind
    self.serial = serial
    self.status = status
  }

  /// Bytes behind the header, computed from `length`.
  @inlinable
  public var payloadLength: Int { max(0, Int(length) - Limits.header) }

  /// Reads the 28 bytes at `bytes`. The caller guarantees that they exist.
  @inlinable
  public init(at bytes: UnsafeRawPointer) {
    func word(_ index: Int) -> UInt32 {
      UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
    }
    length = word(0)
    program = word(1)
    version = word(2)
    procedure = Int32(bitPattern: word(3))
    kind = PacketKind(rawValue: word(4))
    serial = word(5)
    status = PacketStatus(rawValue: word(6))
  }

  /// Whether two headers differ at most in their length. The caller guarantees that both exist.
  static func areAlike(_ one: UnsafeRawPointer, _ other: UnsafeRawPointer) -> Bool {
    func words(_ bytes: UnsafeRawPointer) -> (UInt64, UInt64, UInt64) {
      (
        bytes.loadUnaligned(fromByteOffset: 4, as: UInt64.self),
        bytes.loadUnaligned(fromByteOffset: 12, as: UInt64.self),
        bytes.loadUnaligned(fromByteOffset: 20, as: UInt64.self)
      )
    }
    return words(one) == words(other)
  }

  /// Writes the 28 bytes at `bytes`. The caller guarantees that they exist.
  @inlinable
  public func write(at bytes: UnsafeMutableRawPointer) {
    func put(_ index: Int, _ word: UInt32) {
      bytes.storeBytes(of: word.bigEndian, toByteOffset: index * 4, as: UInt32.self)
    }
    put(0, length)
    put(1, program)
    put(2, version)
    put(3, UInt32(bitPattern: procedure))
    put(4, kind.rawValue)
    put(5, serial)
    put(6, status.rawValue)
  }
}

extension PacketHeader {
  /// What a reader begins with.
  static let empty = PacketHeader(procedure: 0, kind: .call, serial: 0)

  /// Writes or reads the header as it is in a packet.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&length)
    try coder.code(&program)
    try coder.code(&version)
    try coder.code(&procedure)
    try coder.code(&kind)
    try coder.code(&serial)
    try coder.code(&status)
  }
}
