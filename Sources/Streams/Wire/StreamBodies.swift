// The bodies about a stream's content: the volume that it transfers, and the holes that it skips.

/// STORAGE_VOL_UPLOAD and STORAGE_VOL_DOWNLOAD, whose arguments are the same.
public struct VolumeTransferArguments: XDRBody, Equatable, Sendable {
  public var pool: String
  public var name: String
  /// The volume's key, for most pools its path.
  public var key: String
  /// Where in the volume the transfer starts, in bytes.
  public var offset: UInt64
  /// Length of the transfer, in bytes; 0: up to the end.
  public var length: UInt64
  public var flags: UInt32

  /// The flag of a sparse stream. Hole packets are legal only with it.
  public static let sparse: UInt32 = 1
  public var isSparse: Bool { flags & Self.sparse != 0 }

  public init(
    pool: String, name: String, key: String, offset: UInt64, length: UInt64, flags: UInt32
  ) {
    self.pool = pool
    self.name = name
    self.key = key
    self.offset = offset
    self.length = length
    self.flags = flags
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    pool = try reader.string()
    name = try reader.string()
    key = try reader.string()
    offset = try reader.uint64()
    length = try reader.uint64()
    flags = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(pool)
    writer.string(name)
    writer.string(key)
    writer.uint64(offset)
    writer.uint64(length)
    writer.uint32(flags)
  }
}

/// The body of a stream hole packet.
public struct StreamHole: XDRBody, Equatable, Sendable {
  /// Length of the hole, in bytes. Correct senders send more than 0. The value is unchecked.
  public var length: Int64
  public var flags: UInt32

  public init(length: Int64, flags: UInt32 = 0) {
    self.length = length
    self.flags = flags
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    length = try reader.int64()
    flags = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int64(length)
    writer.uint32(flags)
  }
}
