// Bounds on the cost of a peer's certificates: checked when they arrive, before any computation with their keys.
import CGnuTLS
import Streams

/// Bounds on a Certificate message, which a peer sends before it has proven anything.
///
/// GnuTLS verifies a signature with whatever key the peer presents. A verification with an RSA key of 16,384 bits and
/// an exponent of the same length took 3.6 s (GnuTLS 3.7.9), one of 98,304 bits more than a minute. GnuTLS also parses
/// each certificate in a time that grows with the square of its elements: 460 ms for 104 KB of names. The bounds leave
/// room for every certificate in use: 8,192 bits with the exponent 65,537 took 0.4 ms.
enum ChainLimits {
  /// Bytes of a handshake message; GnuTLS checks it against the message's header.
  static let messageBytes = 64 << 10
  static let certificates = 10
  /// DER elements in all certificates together. A usual certificate has about 100.
  static let elements = 2048
  static let rsaBits = 8192
  static let exponentBits = 64

  /// Why a Certificate message is refused; nil: its size and structure are acceptable.
  /// - Parameter isModern: the message has its TLS 1.3 form.
  static func error(inMessage message: UnsafeRawBufferPointer, isModern: Bool) -> Message? {
    let unreadable = Message(.certificateMessageNotDecoded)
    guard message.count <= messageBytes else {
      return Message(.certificateMessageTooLong, [messageBytes >> 10])
    }
    var message = ByteReader(message)
    if isModern {
      guard let context = message.number(1), message.bytes(context) != nil else {
        return unreadable
      }
    }
    guard let size = message.number(3), let list = message.bytes(size), message.isAtEnd else {
      return unreadable
    }
    var chain = ByteReader(list)
    var count = 0
    var left = elements
    while !chain.isAtEnd {
      count += 1
      guard count <= certificates else {
        return Message(.chainTooLong, [certificates])
      }
      guard let size = chain.number(3), let certificate = chain.bytes(size) else {
        return unreadable
      }
      if isModern {
        guard let size = chain.number(2), chain.bytes(size) != nil else { return unreadable }
      }
      guard DERScan.consume(certificate, left: &left) else {
        return left < 0 ? Message(.chainTooComplex, [elements]) : Message(.certificateNotDER)
      }
      if let error = error(inCertificate: certificate) { return error }
    }
    return nil
  }

  private static func error(inCertificate bytes: UnsafeRawBufferPointer) -> Message? {
    var datum = gnutls_datum_t(
      data: UnsafeMutablePointer(mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)),
      size: UInt32(clamping: bytes.count))
    do throws(TLSError) {
      return self.error(inKeyOf: try X509(der: &datum))
    } catch {
      return Message(.peerCertificateNotDecoded, [error.message])
    }
  }

  /// Why a certificate's key is refused; nil: verifying with it is cheap enough.
  static func error(inKeyOf certificate: X509) -> Message? {
    var bits: UInt32 = 0
    let number = gnutls_x509_crt_get_pk_algorithm(certificate.handle, &bits)
    let algorithm = gnutls_pk_algorithm_t(rawValue: UInt32(bitPattern: number))
    switch algorithm {
    case GNUTLS_PK_RSA, GNUTLS_PK_RSA_PSS:
      guard bits <= rsaBits else {
        return Message(.rsaKeyTooLong, [bits, rsaBits])
      }
      guard let exponent = certificate.exponentBits else {
        return Message(.rsaKeyNotDecoded)
      }
      guard exponent <= exponentBits else {
        return Message(.rsaExponentTooLong, [exponent, exponentBits])
      }
      return nil
    // GnuTLS's largest curve is P-521.
    case GNUTLS_PK_ECDSA, GNUTLS_PK_EDDSA_ED25519, GNUTLS_PK_EDDSA_ED448: return nil
    default:
      let name = number < 0 ? nil : gnutls_pk_algorithm_get_name(algorithm)
      return Message(.keyTypeNotAccepted, [name.map { String(cString: $0) } ?? "unknown"])
    }
  }
}

/// Big-endian numbers and runs of bytes from the front of a buffer; nil: the buffer is too short.
private struct ByteReader {
  private var rest: UnsafeRawBufferPointer
  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func bytes(_ count: Int) -> UnsafeRawBufferPointer? {
    guard count >= 0, count <= rest.count else { return nil }
    defer { rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count)) }
    return UnsafeRawBufferPointer(rebasing: rest.prefix(count))
  }

  /// A number of at most four bytes.
  mutating func number(_ count: Int) -> Int? {
    bytes(count)?.reduce(0) { $0 << 8 | Int($1) }
  }
}

/// Counts DER elements.
enum DERScan {
  private static let depth = 24

  /// Subtracts the number of elements in `bytes` from `left`. False: there are more, or the bytes are not DER.
  ///
  /// An octet string can contain DER (every extension's content does), so anything in it that looks like DER counts,
  /// too.
  static func consume(_ bytes: UnsafeRawBufferPointer, left: inout Int) -> Bool {
    consume(ByteReader(bytes), 0, &left)
  }

  private static func consume(_ reader: ByteReader, _ level: Int, _ left: inout Int) -> Bool {
    var reader = reader
    while !reader.isAtEnd {
      left -= 1
      guard left >= 0, level < depth, let tag = reader.number(1), tag & 0x1f != 0x1f,
        var size = reader.number(1)
      else { return false }
      if size >= 0x80 {
        // Indefinite lengths are not DER; no length here needs more than four bytes.
        guard size > 0x80, size <= 0x84, let long = reader.number(size & 0x7f) else {
          return false
        }
        size = long
      }
      guard let content = reader.bytes(size) else { return false }
      let isConstructed = tag & 0x20 != 0
      guard isConstructed || tag == 0x04 else { continue }
      let isWhole = consume(ByteReader(content), level + 1, &left)
      guard isWhole || (!isConstructed && left >= 0) else { return false }
    }
    return true
  }
}

extension TLSSession {
  /// Checks the peer's certificates when they arrive.
  ///
  /// The hook gets the message before GnuTLS parses it. GnuTLS's verify function would be too late: in TLS 1.3 GnuTLS
  /// calls it after verifying the peer's signature (seen with 3.7.9).
  func guardChain() {
    gnutls_handshake_set_max_packet_length(handle, ChainLimits.messageBytes)
    gnutls_session_set_ptr(handle, Unmanaged.passUnretained(self).toOpaque())
    gnutls_handshake_set_hook_function(
      handle, GNUTLS_HANDSHAKE_CERTIFICATE_PKT.rawValue, Int32(GNUTLS_HOOK_PRE)
    ) { handle, _, _, incoming, message in
      guard incoming != 0 else { return 0 }
      guard let pointer = gnutls_session_get_ptr(handle), let message else {
        return GNUTLS_E_CERTIFICATE_ERROR
      }
      let bytes = UnsafeRawBufferPointer(
        start: message.pointee.data, count: Int(message.pointee.size))
      return Unmanaged<TLSSession>.fromOpaque(pointer)._withUnsafeGuaranteedRef { session in
        session.handshakeState.peerError = ChainLimits.error(
          inMessage: bytes, isModern: gnutls_protocol_get_version(handle) == GNUTLS_TLS1_3)
        return session.handshakeState.peerError == nil ? 0 : GNUTLS_E_CERTIFICATE_ERROR
      }
    }
  }
}
