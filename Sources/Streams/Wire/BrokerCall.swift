// The broker's own program on the admin socket: what is under way, ending it, and the rates it is kept to.

/// One call of the program `Program.broker`, version 1.
///
/// What comes back are `BrokerPage`s: rows of named values, so that a newer broker can tell more without a new
/// version of the program, and whoever reads them takes what it knows.
public enum BrokerCall: Equatable, Sendable {
  /// One row about the broker as a whole.
  case status
  /// A row for each client, call or stream, from the first client behind this one on; 0: from the start.
  case clients(after: UInt64)
  case calls(after: UInt64)
  case streams(after: UInt64)
  /// Ends the stream that this client's call opened, with what is told to both sides. No rows.
  case endStream(client: UInt64, serial: UInt32, reason: String)
  /// A row for each rate, from this one on; 0: from the first.
  case rates(after: UInt64)
  /// Keeps streams of a kind to another rate, as the configuration has it, or `off`: all together, or those of
  /// each identity that fits. `default` takes back what an identity has of its own. With an identity, one row:
  /// how many clients have it now.
  case setRate(kind: String, identity: String?, rate: String)

  public var procedure: Int32 {
    switch self {
    case .status: 1
    case .clients: 2
    case .calls: 3
    case .streams: 4
    case .endStream: 5
    case .rates: 6
    case .setRate: 7
    }
  }

  /// The longest reason there may be, in bytes.
  public static let reasonLimit = 256
  /// Of a kind and of a rate, and of an identity: certificates have long names.
  public static let wordLimit = 32
  public static let identityLimit = 1024

  /// The call with this number, its arguments read from `body`. Nil: there is none with this number.
  public init?(procedure: Int32, body: UnsafeRawBufferPointer) throws(Violation) {
    var reader = XDRReader(body)
    switch procedure {
    case 1: self = .status
    case 2: self = .clients(after: try reader.uint64())
    case 3: self = .calls(after: try reader.uint64())
    case 4: self = .streams(after: try reader.uint64())
    case 5:
      self = .endStream(
        client: try reader.uint64(), serial: try reader.uint32(),
        reason: try reader.string(limit: BrokerCall.reasonLimit))
    case 6: self = .rates(after: try reader.uint64())
    case 7:
      self = .setRate(
        kind: try reader.string(limit: BrokerCall.wordLimit),
        identity: try reader.optional { reader throws(Violation) in
          try reader.string(limit: BrokerCall.identityLimit)
        }, rate: try reader.string(limit: BrokerCall.wordLimit))
    default: return nil
    }
  }

  /// The body of the call.
  public var arguments: [UInt8] {
    var writer = XDRWriter()
    switch self {
    case .status: break
    case .clients(let after), .calls(let after), .streams(let after), .rates(let after):
      writer.uint64(after)
    case .endStream(let client, let serial, let reason):
      writer.uint64(client)
      writer.uint32(serial)
      writer.string(reason)
    case .setRate(let kind, let identity, let rate):
      writer.string(kind)
      writer.optional(identity) { $0.string($1) }
      writer.string(rate)
    }
    return writer.bytes
  }
}

/// The answer to a call that asks for rows. Long lists come in pages, so that nobody waits for a whole one.
public struct BrokerPage: XDRBody, Equatable, Sendable {
  public var rows: [[TypedParameter]]
  /// What to ask for the next page with; 0: this was the last.
  public var next: UInt64

  /// Rows in one page, and values in one row. A client with more streams than this has a page of its own.
  public static let mostRows = 4096
  public static let mostValues = 64
  /// A page is full with this many rows. It ends with the client that filled it.
  public static let usualRows = 256

  public init(rows: [[TypedParameter]], next: UInt64) {
    self.rows = rows
    self.next = next
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    rows = try reader.array(limit: BrokerPage.mostRows) { reader throws(Violation) in
      try reader.array(limit: BrokerPage.mostValues) { reader throws(Violation) in
        try TypedParameter(from: &reader)
      }
    }
    next = try reader.uint64()
  }

  public func encode(into writer: inout XDRWriter) {
    writer.array(rows) { writer, row in writer.array(row) { $1.encode(into: &$0) } }
    writer.uint64(next)
  }
}
