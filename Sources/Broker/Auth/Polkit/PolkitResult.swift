// The subject of a polkit check, and its results.
import Glibc
import Streams

/// The process whose action is checked. Its start time guards against a reused process ID.
struct PolkitSubject: Sendable {
  var pid: pid_t
  var startTime: UInt64
  var uid: uid_t
}

/// How a check ended.
enum PolkitResult: Equatable {
  case granted
  case denied
  /// polkit would have to ask a user, and the client has no agent for that.
  case noAgent
  /// polkit asked a user, who closed the dialog.
  case dismissed
  /// polkit could not be reached, or its reply is an error.
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

  /// The client's error. virsh starts its own agent if there was none.
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
