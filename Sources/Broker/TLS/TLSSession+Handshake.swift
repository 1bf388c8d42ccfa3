// A session's handshake, which GnuTLS does, and what was negotiated in it.
import CGnuTLS
import Glibc
import Streams

extension TLSSession {
  /// Calls of GnuTLS in a row that take nothing of the input.
  private static let mostIdle = 4

  /// The whole handshake on a socket that blocks, as long as its time limits allow. Why it failed; nil: it is done.
  func handshakeAndWait() -> String? {
    // Signals and warnings may interrupt it, but not without end.
    for _ in 0..<16 {
      let status = gnutls_handshake(handle)
      if status == GNUTLS_E_SUCCESS { return nil }
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_WARNING_ALERT_RECEIVED { continue }
      let why =
        status == GNUTLS_E_AGAIN
        ? "no answer in time" : handshakeState.peerError.map { "it " + $0 } ?? tlsErrorText(status)
      return "the handshake failed: \(why)"
    }
    return "the handshake failed"
  }

  /// Goes as far as it can. The caller calls it again when the socket is ready for what it was blocked on.
  func handshake() -> Step {
    beginReading()
    if case .blocked = flush() { return .blocked(.write) }
    // Only the last flight was not sent yet: another call of GnuTLS would begin another handshake.
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
          return .failed(errorText(number))
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
        guard handshakeState.spendAlert() else {
          return .failed("it sent nothing but warnings, the last of them '\(alert)'")
        }
      default:
        // The peer may log the reason.
        gnutls_alert_send_appropriate(handle, status)
        _ = flush()
        return .failed(handshakeFailure(status))
      }
    }
  }

  /// Sends what is encrypted. Done when all of it is sent.
  func finishFlush() -> Step {
    switch flush() {
    case .blocked(let on): .blocked(on)
    case .failed(let number): .failed(errorText(number))
    default: .done
    }
  }

  /// Encrypts one byte. To be followed by `finishFlush`.
  func say(_ byte: UInt8) -> Bool {
    var byte = byte
    return gnutls_record_send(handle, &byte, 1) == 1
  }

  private func handshakeFailure(_ status: Int32) -> String {
    if let error = handshakeState.peerError { return "it " + error }
    switch source.state {
    case .failed(let number): return errorText(number)
    case .atEnd: return "it closed the connection in the middle of the handshake"
    case .readable, .drained: break
    }
    if let foreign = handshakeState.foreignProtocol { return foreign }
    if status == GNUTLS_E_FATAL_ALERT_RECEIVED { return "it sent the alert '\(alert)'" }
    return tlsErrorText(status)
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

  /// Bits of the key that protects what is sent: SASL's security strength factor of this layer.
  var keyBits: Int { gnutls_cipher_get_key_size(gnutls_cipher_get(handle)) * 8 }
}
