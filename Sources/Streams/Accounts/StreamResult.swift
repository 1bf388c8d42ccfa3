// How streams end, for metrics and audit.

/// How a stream ended.
public enum StreamResult: UInt8, CaseIterable, Sendable {
  /// The client finished it, and the daemon confirmed that.
  case finished
  /// The client aborted it, and the daemon confirmed that.
  case aborted
  /// The daemon reported an error.
  case failed
  /// The daemon answered the opening call with an error.
  case refused
  /// An administrator ended it.
  case killed
  /// The daemon's connection ended first.
  case backendLost
  /// The client's connection ended first.
  case clientGone

  public var name: String {
    switch self {
    case .finished: "finished"
    case .aborted: "aborted"
    case .failed: "failed"
    case .refused: "refused"
    case .killed: "killed"
    case .backendLost: "backend_lost"
    case .clientGone: "client_gone"
    }
  }
}
