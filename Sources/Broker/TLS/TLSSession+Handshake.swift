// A session's handshake, which GnuTLS does, and the negotiated parameters.
import CGnuTLS
import Glibc
import Streams

extension TLSSession {
  /// Limit of GnuTLS calls in a row that take none of the input.
  private static let mostIdle = 4

  /// Does the whole handshake on a blocking socket, within its time limits. Returns why it failed; nil: it is done.
  func handshakeAndWait() -> Message? {
    // Signals and warnings may interrupt it, but only so often.
    for _ in 0..<16 {
      let status = gnutls_handshake(handle)
      if status == GNUTLS_E_SUCCESS { return nil }
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_WARNING_ALERT_RECEIVED { continue }
      let reason =
        status == GNUTLS_E_AGAIN
        ? Message(.peerDidNotAnswer)
        : handshakeState.peerError ?? TLSError(gnutls: status).message
      return Message(.handshakeFailed, [reason])
    }
    return Message(.handshakeFailed, [Message(.peerDidNotAnswer)])
  }

  /// Continues as far as possible. The caller calls it again when the socket is ready for what blocked it.
  func handshake() -> Step {
    beginReading()
    if case .blocked = flush() { return .blocked(.write) }
    // Only the last flight is unsent: another call of GnuTLS would start another handshake.
    guard state.isHandshaking else { return finishFlush() }
    var idle = 0
    while true {
      let before = input.count
      let status = gnutls_handshake(handle)
      switch status {
      case GNUTLS_E_SUCCESS:
        state = .open
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
        // GnuTLS reports that also in the middle of a message that is longer than one record.
        if input.count > 0, idle < TLSSession.mostIdle {
          idle = input.count < before ? 0 : idle + 1
          continue
        }
        input.settle(buffers)
        return .blocked(.read)
      case GNUTLS_E_INTERRUPTED: continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED:
        guard handshakeState.spendAlert() else {
          return .failed(Message(.peerSentOnlyWarnings, [alert]))
        }
      default:
        // The peer may log the reason.
        gnutls_alert_send_appropriate(handle, status)
        _ = flush()
        return .failed(handshakeError(status))
      }
    }
  }

  /// Sends the encrypted data. Returns done when all of it is sent.
  func finishFlush() -> Step {
    switch flush() {
    case .blocked(let on): .blocked(on)
    case .failed(let number): .failed(Message(.connectionError, [errorText(number)]))
    default: .done
    }
  }

  /// Encrypts one byte. The caller then calls `finishFlush`.
  func say(_ byte: UInt8) -> Bool {
    var byte = byte
    return gnutls_record_send(handle, &byte, 1) == 1
  }

  private func handshakeError(_ status: Int32) -> Message {
    if let error = handshakeState.peerError { return error }
    switch source.state {
    case .failed(let number): return Message(.connectionError, [errorText(number)])
    case .atEnd: return Message(.peerClosedDuringHandshake)
    case .readable, .drained: break
    }
    if let foreign = handshakeState.foreignProtocol { return foreign }
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

  /// Bits of the key that protects sent data: SASL's security strength factor of this layer.
  var keyBits: Int { gnutls_cipher_get_key_size(gnutls_cipher_get(handle)) * 8 }
}
