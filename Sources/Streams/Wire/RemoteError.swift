// libvirt's errors, as daemons send them.

/// The code of an error: libvirt's `virErrorNumber`. Backends can send any number, so this is an open set.
public struct ErrorCode: RawRepresentable, Hashable, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  public static let internalError = ErrorCode(rawValue: 1)
  public static let noSupport = ErrorCode(rawValue: 3)
  public static let noConnect = ErrorCode(rawValue: 5)
  public static let invalidArgument = ErrorCode(rawValue: 8)
  public static let operationFailed = ErrorCode(rawValue: 9)
  public static let operationDenied = ErrorCode(rawValue: 29)
  public static let systemError = ErrorCode(rawValue: 38)
  public static let rpc = ErrorCode(rawValue: 39)
  public static let authenticationFailed = ErrorCode(rawValue: 45)
  public static let operationInvalid = ErrorCode(rawValue: 55)
  public static let configurationUnsupported = ErrorCode(rawValue: 67)
  public static let argumentUnsupported = ErrorCode(rawValue: 74)
  public static let authenticationCancelled = ErrorCode(rawValue: 79)
  public static let operationUnsupported = ErrorCode(rawValue: 84)
  public static let accessDenied = ErrorCode(rawValue: 88)
  public static let authenticationUnavailable = ErrorCode(rawValue: 94)
  public static let noServer = ErrorCode(rawValue: 95)
  public static let noClient = ErrorCode(rawValue: 96)

  /// libvirt's text before the detail of an error with this code. Empty for codes whose text is only the detail.
  ///
  /// It is also empty for codes without a name here.
  public var prefix: String {
    switch self {
    case .internalError: "internal error: "
    case .noSupport: "this function is not supported by the connection driver: "
    case .noConnect: "no connection driver available for "
    case .invalidArgument: "invalid argument: "
    case .operationFailed: "operation failed: "
    case .operationDenied: "operation forbidden: "
    case .authenticationFailed: "authentication failed: "
    case .operationInvalid: "Requested operation is not valid: "
    case .configurationUnsupported: "unsupported configuration: "
    case .argumentUnsupported: "argument unsupported: "
    case .authenticationCancelled: "authentication cancelled: "
    case .operationUnsupported: "Operation not supported: "
    case .accessDenied: "access denied: "
    case .authenticationUnavailable: "authentication unavailable: "
    case .noServer: "Server not found: "
    case .noClient: "Client not found: "
    default: ""
    }
  }
}

/// The part of libvirt that failed: its `virErrorDomain`. Backends can send any number, so this is an open set.
public struct ErrorDomain: RawRepresentable, Hashable, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  public static let none = ErrorDomain(rawValue: 0)
  /// The domain of errors that a proxy raises itself.
  public static let rpc = ErrorDomain(rawValue: 7)
  public static let qemu = ErrorDomain(rawValue: 10)
  public static let remote = ErrorDomain(rawValue: 13)
  public static let storage = ErrorDomain(rawValue: 18)
  public static let network = ErrorDomain(rawValue: 19)
  public static let domain = ErrorDomain(rawValue: 20)
  public static let nodeDevice = ErrorDomain(rawValue: 22)
  public static let interface = ErrorDomain(rawValue: 26)
  public static let secret = ErrorDomain(rawValue: 30)
  public static let nwfilter = ErrorDomain(rawValue: 33)
  public static let streams = ErrorDomain(rawValue: 38)
  public static let auth = ErrorDomain(rawValue: 46)
  public static let identity = ErrorDomain(rawValue: 53)
  public static let access = ErrorDomain(rawValue: 55)
  public static let polkit = ErrorDomain(rawValue: 60)
  public static let admin = ErrorDomain(rawValue: 62)
}

/// The body of a failed reply and of a server's stream error: libvirt's `virError`.
public struct RemoteError: XDRBody, Error, Equatable, Sendable {
  public var code: ErrorCode
  public var domain: ErrorDomain
  /// The whole text for people. Clients also evaluate it: see `ErrorCode.rpc` in libvirt's client.
  public var message: String?
  /// 2 for an error, 1 for a warning.
  public var level: Int32 = 2
  /// By convention the template of the message.
  public var str1: String?
  /// By convention the detail in the message.
  public var str2: String?
  public var str3: String?
  /// By convention the errno of a failed system call, otherwise -1.
  public var int1: Int32 = -1
  public var int2: Int32 = -1
  /// The broker's message that the error was made from; nil: a backend sent the error. Clients do not receive it.
  public private(set) var origin: Message?

  /// The longest detail that the broker sends, in bytes. An error that quotes a client's string of megabytes stays
  /// small, and within the protocol's limit for a string.
  public static let detailLimit = 1023

  /// An error as libvirt itself raises it: the message is the code's template with `detail` filled in.
  ///
  /// A detail beyond `detailLimit` is truncated before the character that would exceed it.
  public init(
    _ code: ErrorCode, domain: ErrorDomain = .rpc, _ detail: String, int1: Int32 = -1,
    int2: Int32 = -1
  ) {
    self.code = code
    self.domain = domain
    let detail = Self.cut(detail)
    message = code.prefix + detail
    str1 = code.prefix + "%s"
    str2 = detail
    self.int1 = int1
    self.int2 = int2
  }

  /// An error whose detail is the message's text. The text may begin with the code's template.
  public init(
    _ code: ErrorCode, domain: ErrorDomain = .rpc, _ message: Message, int1: Int32 = -1,
    int2: Int32 = -1
  ) {
    let text = message.text
    let hasTemplate = !code.prefix.isEmpty && text.hasPrefix(code.prefix)
    let detail = hasTemplate ? String(text.dropFirst(code.prefix.count)) : text
    self.init(code, domain: domain, detail, int1: int1, int2: int2)
    origin = hasTemplate ? message : message.prefixed(code.prefix)
  }

  public init(
    _ code: ErrorCode, domain: ErrorDomain = .rpc, _ definition: MessageDefinition,
    _ arguments: [any CustomStringConvertible] = [], int1: Int32 = -1, int2: Int32 = -1
  ) {
    self.init(code, domain: domain, Message(definition, arguments), int1: int1, int2: int2)
  }

  /// The error as an argument of a message, as the cause.
  public var cause: any CustomStringConvertible {
    if let origin { return origin }
    return message ?? "no reason given"
  }

  public static func == (a: RemoteError, b: RemoteError) -> Bool {
    a.code == b.code && a.domain == b.domain && a.message == b.message && a.level == b.level
      && a.str1 == b.str1 && a.str2 == b.str2 && a.str3 == b.str3 && a.int1 == b.int1
      && a.int2 == b.int2
  }

  /// The error that libvirt sends when a handler failed without a reason.
  public static var unset: RemoteError {
    var error = RemoteError(.internalError, .noErrorSet, int1: 0, int2: 0)
    error.message = Message(.noErrorSet).text
    error.origin = nil
    error.str1 = nil
    error.str2 = nil
    return error
  }

  public init(from reader: inout XDRReader) throws(Violation) {
    func text(_ reader: inout XDRReader) throws(Violation) -> String? {
      try reader.optional { reader throws(Violation) in try reader.string() }
    }
    code = ErrorCode(rawValue: try reader.int32())
    domain = ErrorDomain(rawValue: try reader.int32())
    message = try text(&reader)
    level = try reader.int32()
    // The domain that the error concerns: name, UUID, id. Absent in practice, and not used by the broker.
    _ = try reader.optional { reader throws(Violation) in
      _ = try reader.opaque(limit: Limits.string)
      _ = try reader.fixed(16 + 4)
    }
    str1 = try text(&reader)
    str2 = try text(&reader)
    str3 = try text(&reader)
    int1 = try reader.int32()
    int2 = try reader.int32()
    // The network that the error concerns: name, UUID. Absent in practice, and not used by the broker.
    _ = try reader.optional { reader throws(Violation) in
      _ = try reader.opaque(limit: Limits.string)
      _ = try reader.fixed(16)
    }
  }

  /// Writes the error without the domain or network with which it may have arrived.
  public func encode(into writer: inout XDRWriter) {
    writer.int32(code.rawValue)
    writer.int32(domain.rawValue)
    writer.optional(message) { $0.string($1) }
    writer.int32(level)
    writer.uint32(0)
    writer.optional(str1) { $0.string($1) }
    writer.optional(str2) { $0.string($1) }
    writer.optional(str3) { $0.string($1) }
    writer.int32(int1)
    writer.int32(int2)
    writer.uint32(0)
  }

  private static func cut(_ detail: String) -> String {
    guard detail.utf8.count > detailLimit else { return detail }
    var end = detail.utf8.index(detail.startIndex, offsetBy: detailLimit)
    // Go back to the start of a scalar, at most three bytes, so that no partial scalar is left.
    while end.samePosition(in: detail.unicodeScalars) == nil {
      end = detail.utf8.index(before: end)
    }
    return String(detail[..<end])
  }
}
