// The bodies that tell what a stream carries: which volume it moves, and what it skips.

/// STORAGE_VOL_UPLOAD and STORAGE_VOL_DOWNLOAD, whose arguments are the same.
public struct VolumeTransferArguments: XDRBody, Equatable, Sendable {
  public var pool: String
  public var name: String
  /// The volume's own identification, for most pools its path.
  public var key: String
  /// Where in the volume the transfer starts, in bytes.
  public var offset: UInt64
  /// How much is moved, in bytes; 0 means up to the end.
  public var length: UInt64
  public var flags: UInt32

  /// Holes may be sent as such: only then is a hole packet legal on the stream.
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
  /// What is skipped, in bytes. Honest senders send more than 0; nothing here checks that.
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
