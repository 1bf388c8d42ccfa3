// The broker's own program on the admin socket: it lists clients, calls and streams, ends streams, sets rates and drains
// the broker.

/// One call of the program `Program.broker`, version 1.
///
/// The replies are `BrokerPage`s: rows of named values. A newer broker can add values without a new version of the
/// program, and readers ignore values that they do not know.
public enum BrokerCall: Equatable, Sendable {
  /// One row about the broker as a whole.
  case status
  /// A row for each client, call or stream, starting with the client after this one; 0: from the start.
  case clients(after: UInt64)
  case calls(after: UInt64)
  case streams(after: UInt64)
  /// Ends the stream that this client's call opened. Both sides receive `reason`. No rows.
  case endStream(client: UInt64, serial: UInt32, reason: String)
  /// A row for each rate, starting with this one; 0: from the first.
  case rates(after: UInt64)
  /// Sets the rate of streams of a kind, in the format of the configuration, or `off`. With an identity the rate holds
  /// for each identity that matches, `default` removes the rule, and the reply has one row: the number of clients that
  /// match now. Without an identity the rate holds for all streams of the kind together.
  case setRate(kind: String, identity: String?, rate: String)
  /// Accepts no new clients, and ends when the last one has left or after this many seconds; 0: there is no time limit;
  /// nil: the limit of the drain under way stays, and a drain that begins has none. One row: the number of clients that
  /// continue, and of idle ones that were closed.
  case drain(seconds: UInt32?)

  public var procedure: Int32 {
    switch self {
    case .status: 1
    case .clients: 2
    case .calls: 3
    case .streams: 4
    case .endStream: 5
    case .rates: 6
    case .setRate: 7
    case .drain: 8
    }
  }

  /// The longest reason, in bytes.
  public static let reasonLimit = 256
  /// The longest kind or rate, and the longest identity, in bytes. Certificates have long names.
  public static let wordLimit = 32
  public static let identityLimit = 1024
  /// The longest time limit of a drain, in seconds: a day.
  public static let drainLimit: UInt32 = 86400

  /// Decodes the call with this number from `body`. Nil: no call has this number.
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
    case 8:
      self = .drain(
        seconds: try reader.optional { reader throws(Violation) in try reader.uint32() })
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
    case .drain(let seconds): writer.optional(seconds) { $0.uint32($1) }
    }
    return writer.bytes
  }
}

/// The answer to a call that requests rows. Long lists are split into pages, so that no other client waits for a whole
/// list.
public struct BrokerPage: XDRBody, Equatable, Sendable {
  public var rows: [[TypedParameter]]
  /// The argument of the call for the next page; 0: this page is the last.
  public var next: UInt64

  /// The most rows in one page, and the most values in one row.
  public static let mostRows = 4096
  public static let mostValues = 64
  /// The rows after which a page ends, once all rows of the current client are in it.
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
