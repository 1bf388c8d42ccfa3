// The bodies of the calls, replies and events that the broker reads or writes itself.

/// The body of a packet: the arguments of a call, the result in a reply, or the data of an event.
public protocol XDRBody {
  /// Reads the body, and leaves the bytes behind it unread.
  init(from reader: inout XDRReader) throws(Violation)
  func encode(into writer: inout XDRWriter)
}

extension XDRBody {
  /// Reads a whole payload. Bytes after the body are ignored, as libvirt ignores them.
  public init(payload: UnsafeRawBufferPointer) throws(Violation) {
    var reader = XDRReader(payload)
    try self.init(from: &reader)
  }

  /// The encoded body, without a header.
  public var encoded: [UInt8] {
    var writer = XDRWriter()
    encode(into: &writer)
    return writer.bytes
  }
}

/// CONNECT_OPEN. An absent or empty name asks the server to choose.
public struct ConnectOpenArguments: XDRBody, Equatable, Sendable {
  public var name: String?
  public var flags: UInt32

  /// The only flag that servers evaluate. Clients also send flags of their own.
  public static let readOnly: UInt32 = 1
  public var isReadOnly: Bool { flags & Self.readOnly != 0 }

  public init(name: String?, flags: UInt32) {
    self.name = name
    self.flags = flags
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    name = try reader.optional { reader throws(Violation) in try reader.string() }
    flags = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.optional(name) { $0.string($1) }
    writer.uint32(flags)
  }
}

/// The calls that list objects: with the objects themselves, and which of them.
struct ListArguments: XDRBody, Equatable, Sendable {
  var flags: UInt32

  init(flags: UInt32) {
    self.flags = flags
  }

  init(from reader: inout XDRReader) throws(Violation) {
    _ = try reader.int32()
    flags = try reader.uint32()
  }

  func encode(into writer: inout XDRWriter) {
    writer.int32(1)
    writer.uint32(flags)
  }
}

/// CONNECT_SUPPORTS_FEATURE: the number of the feature.
public struct FeatureArguments: XDRBody, Equatable, Sendable {
  public var feature: Int32

  public init(feature: Int32) {
    self.feature = feature
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    feature = try reader.int32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int32(feature)
  }
}

/// The answer to CONNECT_SUPPORTS_FEATURE: 0 for no.
public struct FeatureResult: XDRBody, Equatable, Sendable {
  public var supported: Int32

  public init(supported: Int32) {
    self.supported = supported
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    supported = try reader.int32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int32(supported)
  }
}

/// The answer to AUTH_LIST. A libvirt server names exactly one type.
public struct AuthListResult: XDRBody, Equatable, Sendable {
  public var types: [Int32]

  public static let none: Int32 = 0
  public static let sasl: Int32 = 1
  public static let polkit: Int32 = 2

  public init(types: [Int32]) {
    self.types = types
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    types = try reader.array(limit: Limits.authTypes) { reader throws(Violation) in
      try reader.int32()
    }
  }

  public func encode(into writer: inout XDRWriter) {
    writer.array(types) { $0.int32($1) }
  }
}

/// The answer to AUTH_POLKIT: 1 if the client has authenticated.
public struct AuthPolkitResult: XDRBody, Equatable, Sendable {
  public var complete: Int32

  public init(complete: Int32) {
    self.complete = complete
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    complete = try reader.int32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int32(complete)
  }
}

/// The answer to CONNECT_GET_URI.
public struct GetURIResult: XDRBody, Equatable, Sendable {
  public var uri: String

  public init(uri: String) {
    self.uri = uri
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    uri = try reader.string()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(uri)
  }
}

/// CONNECT_EVENT_CONNECTION_CLOSED: the backend behind this connection is gone.
public struct ConnectionClosedEvent: XDRBody, Equatable, Sendable {
  /// libvirt's `virConnectCloseReason`.
  public var reason: Int32

  public static let error: Int32 = 0
  public static let endOfFile: Int32 = 1
  public static let keepAlive: Int32 = 2
  public static let client: Int32 = 3

  public init(reason: Int32) {
    self.reason = reason
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    reason = try reader.int32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int32(reason)
  }
}
