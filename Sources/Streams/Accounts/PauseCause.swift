// Why a stream is paused, for metrics and the admin protocol.

/// What the source of a stream waits for while it is not read.
public enum PauseCause: UInt8, CaseIterable, Sendable {
  /// The client does not accept what is queued for it.
  case client
  /// The daemon does not accept what is queued for it.
  case backend
  /// The stream has used up its rate.
  case limit

  public var name: String {
    switch self {
    case .client: "client"
    case .backend: "backend"
    case .limit: "limit"
    }
  }
}
