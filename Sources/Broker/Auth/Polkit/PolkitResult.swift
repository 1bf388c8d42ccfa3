// What polkit is asked, and its results.
import Glibc
import Streams

/// The process that wants something. Its number alone could have been used again.
struct PolkitSubject: Sendable {
  var pid: pid_t
  var startTime: UInt64
  var uid: uid_t
}

/// How a check ended.
enum PolkitResult: Equatable {
  case granted
  case denied
  /// A user would have to be asked, and the client has no agent for that.
  case noAgent
  /// A user was asked, and closed the dialog.
  case dismissed
  /// polkit was not reached, or its answer is an error.
  case failed(Message)

  /// The reason of a refusal, for the log.
  var reason: Message {
    switch self {
    case .granted, .denied: Message(.polkitDenied)
    case .noAgent: Message(.polkitAgentMissing)
    case .dismissed: Message(.polkitDialogDismissed)
    case .failed(let error): Message(.polkitCheckFailed, [error])
    }
  }

  /// The client's error. virsh starts an agent of its own when there was none.
  func error(_ action: String) -> RemoteError {
    switch self {
    case .granted, .denied:
      RemoteError(.authenticationFailed, domain: .polkit, Message(.clientPolkitDenied))
    case .noAgent:
      RemoteError(
        .authenticationUnavailable, domain: .polkit, Message(.clientPolkitAgentMissing, [action]))
    case .dismissed:
      RemoteError(.authenticationCancelled, domain: .polkit, Message(.clientPolkitDismissed))
    case .failed:
      RemoteError(.authenticationFailed, domain: .polkit, Message(.clientPolkitFailed))
    }
  }
}
