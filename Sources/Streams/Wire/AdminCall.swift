// Decodes and encodes the calls of libvirt's admin interface.

/// One call of the ADMIN program with its arguments.
public enum AdminCall: Equatable, Sendable {
  case open(flags: UInt32)
  case close
  case libraryVersion
  /// `wantsList`: whether the caller wants the list, or only its length.
  case listServers(wantsList: Bool, flags: UInt32)
  case lookUpServer(String, flags: UInt32)
  case threadPool(server: String, flags: UInt32)
  case setThreadPool(server: String, [TypedParameter], flags: UInt32)
  case listClients(server: String, wantsList: Bool, flags: UInt32)
  case lookUpClient(server: String, id: UInt64, flags: UInt32)
  case clientInfo(AdminClient, flags: UInt32)
  case closeClient(AdminClient, flags: UInt32)
  case clientLimits(server: String, flags: UInt32)
  case setClientLimits(server: String, [TypedParameter], flags: UInt32)
  case logOutputs(flags: UInt32)
  case logFilters(flags: UInt32)
  /// Nil or an empty string: the default outputs. `setLogFilters` likewise.
  case setLogOutputs(String?, flags: UInt32)
  case setLogFilters(String?, flags: UInt32)
  case updateTLS(server: String, flags: UInt32)
  /// Seconds without a client after which the daemon exits; 0: never.
  case setTimeout(seconds: UInt32, flags: UInt32)
  /// Since 11.2.0.
  case shutDown(flags: UInt32)

  /// The call's number. `ProcedureTable.admin` has its name.
  public var procedure: Int32 {
    switch self {
    case .open: 1
    case .close: 2
    case .libraryVersion: 3
    case .listServers: 4
    case .lookUpServer: 5
    case .threadPool: 6
    case .setThreadPool: 7
    case .listClients: 8
    case .lookUpClient: 9
    case .clientInfo: 10
    case .closeClient: 11
    case .clientLimits: 12
    case .setClientLimits: 13
    case .logOutputs: 14
    case .logFilters: 15
    case .setLogOutputs: 16
    case .setLogFilters: 17
    case .updateTLS: 18
    case .setTimeout: 19
    case .shutDown: 20
    }
  }

  /// Decodes the call with this number from `body`. Nil: no call has this number.
  /// Bytes behind the arguments are ignored, as libvirt ignores them.
  public init?(procedure: Int32, body: UnsafeRawBufferPointer) throws(Violation) {
    var reader = XDRReader(body)
    func flags() throws(Violation) -> UInt32 { try reader.uint32() }
    func server() throws(Violation) -> String { try reader.string() }
    func wanted() throws(Violation) -> Bool { try reader.uint32() != 0 }
    func client() throws(Violation) -> AdminClient { try AdminClient(from: &reader) }
    func text() throws(Violation) -> String? {
      try reader.optional { reader throws(Violation) in try reader.string() }
    }
    func parameters() throws(Violation) -> [TypedParameter] {
      try reader.array(limit: Limits.adminParameters) { reader throws(Violation) in
        try TypedParameter(from: &reader)
      }
    }
    switch procedure {
    case 1: self = .open(flags: try flags())
    case 2: self = .close
    case 3: self = .libraryVersion
    case 4: self = .listServers(wantsList: try wanted(), flags: try flags())
    case 5: self = .lookUpServer(try server(), flags: try flags())
    case 6: self = .threadPool(server: try server(), flags: try flags())
    case 7: self = .setThreadPool(server: try server(), try parameters(), flags: try flags())
    case 8:
      self = .listClients(server: try server(), wantsList: try wanted(), flags: try flags())
    case 9:
      self = .lookUpClient(server: try server(), id: try reader.uint64(), flags: try flags())
    case 10: self = .clientInfo(try client(), flags: try flags())
    case 11: self = .closeClient(try client(), flags: try flags())
    case 12: self = .clientLimits(server: try server(), flags: try flags())
    case 13: self = .setClientLimits(server: try server(), try parameters(), flags: try flags())
    case 14: self = .logOutputs(flags: try flags())
    case 15: self = .logFilters(flags: try flags())
    case 16: self = .setLogOutputs(try text(), flags: try flags())
    case 17: self = .setLogFilters(try text(), flags: try flags())
    case 18: self = .updateTLS(server: try server(), flags: try flags())
    case 19: self = .setTimeout(seconds: try reader.uint32(), flags: try flags())
    case 20: self = .shutDown(flags: try flags())
    default: return nil
    }
  }

  /// The body of the call.
  public var arguments: [UInt8] {
    var writer = XDRWriter()
    switch self {
    case .close, .libraryVersion: break
    case .open(let flags), .logOutputs(let flags), .logFilters(let flags), .shutDown(let flags):
      writer.uint32(flags)
    case .listServers(let wantsList, let flags):
      writer.uint32(wantsList ? 1 : 0)
      writer.uint32(flags)
    case .lookUpServer(let server, let flags), .threadPool(let server, let flags),
      .clientLimits(let server, let flags), .updateTLS(let server, let flags):
      writer.string(server)
      writer.uint32(flags)
    case .setThreadPool(let server, let parameters, let flags),
      .setClientLimits(let server, let parameters, let flags):
      writer.string(server)
      writer.array(parameters) { $1.encode(into: &$0) }
      writer.uint32(flags)
    case .listClients(let server, let wantsList, let flags):
      writer.string(server)
      writer.uint32(wantsList ? 1 : 0)
      writer.uint32(flags)
    case .lookUpClient(let server, let id, let flags):
      writer.string(server)
      writer.uint64(id)
      writer.uint32(flags)
    case .clientInfo(let client, let flags), .closeClient(let client, let flags):
      client.encode(into: &writer)
      writer.uint32(flags)
    case .setLogOutputs(let text, let flags), .setLogFilters(let text, let flags):
      writer.optional(text) { $0.string($1) }
      writer.uint32(flags)
    case .setTimeout(let seconds, let flags):
      writer.uint32(seconds)
      writer.uint32(flags)
    }
    return writer.bytes
  }
}
