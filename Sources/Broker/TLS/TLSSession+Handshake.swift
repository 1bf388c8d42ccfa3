// A session's beginning: the handshake, which is GnuTLS's, and what was agreed in it.
import CGnuTLS
import Glibc
import Streams

extension TLSSession {
  /// Warnings a client may send in the middle of its handshake.
  private static let mostAlerts = 8
  /// Calls of GnuTLS in a row that take nothing of what waits.
  private static let mostIdle = 4

  /// The whole handshake on a socket that blocks, as long as its time limits allow.
  func handshakeAndWait() -> Step {
    // A signal may interrupt it, a time limit may run out: neither goes on for ever.
    for _ in 0..<16 {
      let status = gnutls_handshake(handle)
      if status == GNUTLS_E_SUCCESS { return .done }
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_WARNING_ALERT_RECEIVED { continue }
      let reason =
        status == GNUTLS_E_AGAIN
        ? Message(.peerDidNotAnswer) : peerError ?? TLSError(gnutls: status).message
      return .failed(Message(.handshakeFailed, [reason]))
    }
    return .failed(Message(.handshakeFailed, [Message(.peerDidNotAnswer)]))
  }

  /// Goes as far as it can. To be called again when the socket is ready for what it was blocked on.
  func handshake() -> Step {
    beginReading()
    if case .blocked = flush() { return .blocked(.write) }
    // Only the last flight had not left yet: asking GnuTLS again would begin another handshake.
    guard !isUp else { return finishFlush() }
    var idle = 0
    while true {
      let before = input.count
      let status = gnutls_handshake(handle)
      switch status {
      case GNUTLS_E_SUCCESS:
        isUp = true
        return finishFlush()
      case GNUTLS_E_AGAIN:
        switch flush() {
        case .failed(let number):
          input.settle(buffers)
          return .failed(Message(.connectionError, [errorText(number)]))
        case .blocked:
          input.settle(buffers)
          return .blocked(.write)
        default: break
        }
        // GnuTLS also says so in the middle of a message that is longer than one record.
        if input.count > 0, idle < TLSSession.mostIdle {
          idle = input.count < before ? 0 : idle + 1
          continue
        }
        input.settle(buffers)
        return .blocked(.read)
      case GNUTLS_E_INTERRUPTED: continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED:
        alerts += 1
        guard alerts <= TLSSession.mostAlerts else {
          return .failed(Message(.peerSentOnlyWarnings, [alert]))
        }
      default:
        // The peer may be able to make something of the reason.
        gnutls_alert_send_appropriate(handle, status)
        _ = flush()
        return .failed(handshakeError(status))
      }
    }
  }

  /// Everything that is encrypted has left, or the socket is waited for.
  func finishFlush() -> Step {
    switch flush() {
    case .blocked(let on): .blocked(on)
    case .failed(let number): .failed(Message(.connectionError, [errorText(number)]))
    default: .done
    }
  }

  /// Encrypts one byte. To be followed by `finishFlush`.
  func say(_ byte: UInt8) -> Bool {
    var byte = byte
    return gnutls_record_send(handle, &byte, 1) == 1
  }

  private func handshakeError(_ status: Int32) -> Message {
    if let peerError { return peerError }
    if socketError != 0 { return Message(.connectionError, [errorText(socketError)]) }
    if isAtEnd { return Message(.peerClosedDuringHandshake) }
    if let firstBytes, firstBytes >> 24 != 22 {
      return firstBytes <= UInt32(Limits.packet) && firstBytes >= UInt32(Limits.header)
        ? Message(.peerSpeaksPlainRPC) : Message(.peerSpeaksNoTLS)
    }
    if status == GNUTLS_E_FATAL_ALERT_RECEIVED { return Message(.peerSentAlert, [alert]) }
    return TLSError(gnutls: status).message
  }

  var alert: String {
    gnutls_alert_get_name(gnutls_alert_get(handle)).map { String(cString: $0) } ?? "unknown"
  }

  /// `TLS1.3 AES-256-GCM`.
  var parameters: String {
    func text(_ name: UnsafePointer<CChar>?) -> String { name.map { String(cString: $0) } ?? "?" }
    return text(gnutls_protocol_get_name(gnutls_protocol_get_version(handle))) + " "
      + text(gnutls_cipher_get_name(gnutls_cipher_get(handle)))
  }

  /// Bits of the key that protects what is sent: the strength SASL is told of.
  var keyBits: Int { gnutls_cipher_get_key_size(gnutls_cipher_get(handle)) * 8 }
}
