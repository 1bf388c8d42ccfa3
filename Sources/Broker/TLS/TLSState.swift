// The state of a TLS session, from its handshake to its end.
import Streams

/// Both directions are open after the handshake. The sender's close_notify closes a direction, and a failure ends both.
/// A read still returns what was received before an end.
enum TLSState {
  case handshaking
  case open
  /// The broker has sent close_notify. The peer may still send.
  case sendingClosed
  /// The peer has closed, with close_notify or without. The broker may still send.
  case receivingClosed
  case closed
  /// The errno that the transport reports, and the reason for the log if the session knows more than the errno.
  case failed(Int32, Message?)

  /// The peer expects data, so it gets a close_notify when the broker closes.
  var canSend: Bool {
    switch self {
    case .open, .receivingClosed: true
    case .handshaking, .sendingClosed, .closed, .failed: false
    }
  }

  var isHandshaking: Bool {
    if case .handshaking = self { true } else { false }
  }

  /// What a read reports after the last byte; nil: the peer may send.
  var end: Outcome? {
    switch self {
    case .handshaking, .open, .sendingClosed: nil
    case .receivingClosed, .closed: .end
    case .failed(let number, _): .failed(number)
    }
  }

  /// Why the session failed, for the log.
  var error: Message? {
    if case .failed(_, let reason) = self { reason } else { nil }
  }

  mutating func closeSending() {
    switch self {
    case .open: self = .sendingClosed
    case .receivingClosed: self = .closed
    case .handshaking, .sendingClosed, .closed, .failed: break
    }
  }

  mutating func closeReceiving() {
    switch self {
    case .open: self = .receivingClosed
    case .sendingClosed: self = .closed
    case .handshaking, .receivingClosed, .closed, .failed: break
    }
  }
}
