// A client's identity, as one daemon sends it to another.

/// A name with a value of one of seven types: libvirt's `virTypedParameter`.
public struct TypedParameter: XDRBody, Equatable, Sendable {
  public var field: String
  public var value: Value

  /// The value. The order of the cases is that of the type numbers, which start at 1.
  public enum Value: Equatable, Sendable {
    case int(Int32)
    case uint(UInt32)
    case llong(Int64)
    case ullong(UInt64)
    case double(Double)
    case boolean(Bool)
    case string(String)
  }

  public init(_ field: String, _ value: Value) {
    self.field = field
    self.value = value
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    field = try reader.string(limit: Limits.parameterField)
    let type = try reader.int32()
    switch type {
    case 1: value = .int(try reader.int32())
    case 2: value = .uint(try reader.uint32())
    case 3: value = .llong(try reader.int64())
    case 4: value = .ullong(try reader.uint64())
    case 5: value = .double(try reader.double())
    case 6: value = .boolean(try reader.int32() != 0)
    case 7: value = .string(try reader.string())
    default: throw Violation(.unknownParameterType, [type])
    }
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(field)
    switch value {
    case .int(let value):
      writer.int32(1)
      writer.int32(value)
    case .uint(let value):
      writer.int32(2)
      writer.uint32(value)
    case .llong(let value):
      writer.int32(3)
      writer.int64(value)
    case .ullong(let value):
      writer.int32(4)
      writer.uint64(value)
    case .double(let value):
      writer.int32(5)
      writer.double(value)
    case .boolean(let value):
      writer.int32(6)
      writer.int32(value ? 1 : 0)
    case .string(let value):
      writer.int32(7)
      writer.string(value)
    }
  }
}

/// CONNECT_SET_IDENTITY: replaces the whole identity that the backend has for the client of a connection.
public struct SetIdentityArguments: XDRBody, Equatable, Sendable {
  public var parameters: [TypedParameter]
  public var flags: UInt32

  public init(parameters: [TypedParameter], flags: UInt32 = 0) {
    self.parameters = parameters
    self.flags = flags
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    parameters = try reader.array(limit: Limits.identityParameters) { reader throws(Violation) in
      try TypedParameter(from: &reader)
    }
    flags = try reader.uint32()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.array(parameters) { $1.encode(into: &$0) }
    writer.uint32(flags)
  }
}
