// What the local authority is asked, and what it can say.
import Glibc
import Streams

/// The process that wants something. Its number alone could have been used again.
struct PolkitSubject: Sendable {
  var pid: pid_t
  var startTime: UInt64
  var uid: uid_t
}

/// How a check ended.
enum PolkitResult: Equatable, CustomStringConvertible {
  case granted
  case denied
  /// A user would have to be asked, and the client has no agent for that.
  case nobodyToAsk
  /// A user was asked, and closed the dialog.
  case dismissed
  /// The authority was not reached, or did not answer as it should.
  case failed(String)

  var description: String {
    switch self {
    case .granted: "granted"
    case .denied: "denied"
    case .nobodyToAsk: "somebody has to be asked, and the client has no agent for that"
    case .dismissed: "the dialog was dismissed"
    case .failed(let why): "cannot be checked: \(why)"
    }
  }

  /// The client's error. virsh starts an agent of its own when there was none.
  func error(_ action: String) -> RemoteError {
    switch self {
    case .granted, .denied:
      RemoteError(.authenticationFailed, domain: .polkit, "access denied by policy")
    case .nobodyToAsk:
      RemoteError(
        .authenticationUnavailable, domain: .polkit,
        "no polkit agent available to authenticate action '\(action)'")
    case .dismissed:
      RemoteError(
        .authenticationCancelled, domain: .polkit, "user cancelled authentication process")
    case .failed:
      RemoteError(.authenticationFailed, domain: .polkit, "the policy could not be asked for")
    }
  }
}
