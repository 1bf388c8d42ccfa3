// The bodies of the SASL exchange. Its data are characters, each encoded as one word.

extension XDRReader {
  /// Reads at most `limit` characters. Only the lowest byte of each word counts, as in libvirt.
  mutating func characters(limit: Int) throws(Violation) -> [UInt8] {
    let count = Int(try uint32())
    guard count <= limit else { throw Violation(.tooManyCharacters, [count, limit]) }
    let words = try fixed(4 * count)
    return (0..<count).map { words[4 * $0 + 3] }
  }
}

extension XDRWriter {
  /// Writes characters with their count. They are signed on the wire: values above 127 are negative.
  mutating func characters(_ characters: [UInt8]) {
    uint32(UInt32(clamping: characters.count))
    for character in characters { int32(Int32(Int8(bitPattern: character))) }
  }
}

/// The data of one step of an exchange. SASL distinguishes between no data and empty data.
public struct SASLData: XDRBody, Equatable, Sendable {
  public var bytes: [UInt8]?

  public init(_ bytes: [UInt8]?) {
    self.bytes = bytes
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    let isNothing = try reader.int32() != 0
    let data = try reader.characters(limit: Limits.saslData)
    bytes = isNothing ? nil : data
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int32(bytes == nil ? 1 : 0)
    writer.characters(bytes ?? [])
  }
}

/// The answer to AUTH_SASL_INIT: the available mechanisms, separated by commas.
public struct SASLInitResult: XDRBody, Equatable, Sendable {
  public var mechanisms: String

  public init(mechanisms: String) {
    self.mechanisms = mechanisms
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    mechanisms = try reader.string()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(mechanisms)
  }
}

/// AUTH_SASL_START: the mechanism that the client has chosen, and its first data. The arguments of AUTH_SASL_STEP are
/// only a `SASLData`.
public struct SASLStartArguments: XDRBody, Equatable, Sendable {
  public var mechanism: String
  public var data: SASLData

  public init(mechanism: String, data: SASLData) {
    self.mechanism = mechanism
    self.data = data
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    mechanism = try reader.string()
    data = try SASLData(from: &reader)
  }

  public func encode(into writer: inout XDRWriter) {
    writer.string(mechanism)
    data.encode(into: &writer)
  }
}

/// The answer to AUTH_SASL_START and AUTH_SASL_STEP.
public struct SASLStepResult: XDRBody, Equatable, Sendable {
  public var isComplete: Bool
  public var data: SASLData

  public init(isComplete: Bool, data: SASLData) {
    self.isComplete = isComplete
    self.data = data
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    isComplete = try reader.int32() != 0
    data = try SASLData(from: &reader)
  }

  public func encode(into writer: inout XDRWriter) {
    writer.int32(isComplete ? 1 : 0)
    data.encode(into: &writer)
  }
}
