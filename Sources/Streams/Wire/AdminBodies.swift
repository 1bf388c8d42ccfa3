// The types in the bodies of libvirt's admin interface: servers of a daemon, their clients, and lists of them.

/// A server of a daemon, by its name.
public struct AdminServer: XDRBody, Equatable, Sendable {
  public var name: String

  public init(name: String) { self.name = name }

  public init(from reader: inout XDRReader) throws(Violation) { name = try reader.string() }

  public func encode(into writer: inout XDRWriter) { writer.string(name) }
}

/// A client of a server. `server` and `id` identify it. The other fields are for lists.
public struct AdminClient: XDRBody, Equatable, Sendable {
  public var server: String
  public var id: UInt64
  /// When it connected, in seconds since 1970.
  public var connectedAt: Int64
  public var transport: UInt32

  public static let unix: UInt32 = 0
  public static let tcp: UInt32 = 1
  public static let tls: UInt32 = 2

  public init(server: String, id: UInt64, connectedAt: Int64 = 0, transport: UInt32 = unix) {
    self.server = server
    self.id = id
    self.connectedAt = connectedAt
    self.transport = transport
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    server = try reader.string()
    id = try reader.uint64()
    connectedAt = try reader.int64()
    transport = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(server)
    writer.uint64(id)
    writer.int64(connectedAt)
    writer.uint32(transport)
  }
}

/// The libvirt version of the interface: major times 1,000,000, plus minor times 1,000, plus micro.
public struct AdminVersion: XDRBody, Equatable, Sendable {
  public var number: UInt64

  public init(number: UInt64) { self.number = number }

  public init(from reader: inout XDRReader) throws(Violation) { number = try reader.uint64() }

  public func encode(into writer: inout XDRWriter) { writer.uint64(number) }
}

/// A list and the number of its elements. A caller that asks only for the number receives an empty list.
public struct AdminList<Element: XDRBody & Equatable & Sendable>: XDRBody, Equatable, Sendable {
  public var elements: [Element]
  public var count: UInt32

  public init(_ all: [Element], wantsElements: Bool) {
    elements = wantsElements ? all : []
    count = UInt32(clamping: all.count)
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    elements = try reader.array(limit: Limits.adminList) { reader throws(Violation) in
      try Element(from: &reader)
    }
    count = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.array(elements) { $1.encode(into: &$0) }
    writer.uint32(count)
  }
}

/// Named values, in the order in which clients print them.
public struct AdminParameters: XDRBody, Equatable, Sendable {
  public var parameters: [TypedParameter]

  public init(_ parameters: [TypedParameter]) { self.parameters = parameters }

  public init(from reader: inout XDRReader) throws(Violation) {
    parameters = try reader.array(limit: Limits.adminClientParameters) {
      reader throws(Violation) in try TypedParameter(from: &reader)
    }
  }

  public func encode(into writer: inout XDRWriter) {
    writer.array(parameters) { $1.encode(into: &$0) }
  }
}

/// The log's outputs as one string, and their number.
public struct AdminLogOutputs: XDRBody, Equatable, Sendable {
  public var text: String
  public var count: UInt32

  public init(text: String, count: UInt32) {
    self.text = text
    self.count = count
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    text = try reader.string()
    count = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(text)
    writer.uint32(count)
  }
}

/// The log's filters as one string, and their number. `text` is nil if there are no filters.
public struct AdminLogFilters: XDRBody, Equatable, Sendable {
  public var text: String?
  public var count: UInt32

  public init(text: String?, count: UInt32) {
    self.text = text
    self.count = count
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    text = try reader.optional { reader throws(Violation) in try reader.string() }
    count = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.optional(text) { $0.string($1) }
    writer.uint32(count)
  }
}
