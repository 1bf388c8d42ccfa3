// Certificates as GnuTLS reads them, converted to values.
import CGnuTLS
import Glibc
import Streams

/// GnuTLS's text for one of its error numbers.
func tlsErrorText(_ number: Int32) -> String {
  gnutls_strerror(number).map { String(cString: $0) } ?? "error \(number)"
}

/// Why a file, a certificate, a priority string or a session cannot be used.
struct TLSError: Error, Equatable, CustomStringConvertible {
  let message: Message
  var description: String { message.text }
  init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
    message = Message(definition, arguments)
  }
  init(_ message: Message) { self.message = message }
  /// One of GnuTLS's error numbers.
  init(gnutls status: Int32) { self.init(.gnutlsError, [tlsErrorText(status)]) }
}

/// One certificate, as an object of GnuTLS.
final class X509 {
  let handle: gnutls_x509_crt_t

  /// Takes over `handle`.
  init(owning handle: gnutls_x509_crt_t) { self.handle = handle }

  deinit { gnutls_x509_crt_deinit(handle) }

  /// The certificates of a PEM file, in its order.
  static func list(pem: [UInt8]) throws(TLSError) -> [X509] {
    var list: UnsafeMutablePointer<gnutls_x509_crt_t?>?
    var count: UInt32 = 0
    let status = pem.withDatum {
      gnutls_x509_crt_list_import2(&list, &count, $0, GNUTLS_X509_FMT_PEM, 0)
    }
    guard status >= 0, let list else { throw TLSError(gnutls: status) }
    defer { free(list) }
    return (0..<Int(count)).compactMap { list[$0].map { X509(owning: $0) } }
  }

  /// One certificate in the form of the wire.
  init(der: UnsafePointer<gnutls_datum_t>) throws(TLSError) {
    var made: gnutls_x509_crt_t?
    let status = gnutls_x509_crt_init(&made)
    guard status >= 0, let made else { throw TLSError(gnutls: status) }
    handle = made
    let imported = gnutls_x509_crt_import(handle, der, GNUTLS_X509_FMT_DER)
    guard imported >= 0 else { throw TLSError(gnutls: imported) }
  }

  /// The certificate's fields. Throws if one of them cannot be decoded.
  func certificate() throws(TLSError) -> Certificate {
    let activation = gnutls_x509_crt_get_activation_time(handle)
    let expiration = gnutls_x509_crt_get_expiration_time(handle)
    guard activation != -1, expiration != -1 else {
      throw TLSError(.datesNotDecoded)
    }
    return Certificate(
      subject: try name(gnutls_x509_crt_get_dn),
      issuer: try name(gnutls_x509_crt_get_issuer_dn),
      activation: Int64(activation), expiration: Int64(expiration),
      basicConstraints: try basicConstraints(), keyUsage: try keyUsage(),
      purposes: try purposes(), fingerprint: fingerprint())
  }

  /// Empty: there is no name. Names may be in the extensions alone.
  private func name(
    _ get: (gnutls_x509_crt_t?, UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>?) -> Int32
  ) throws(TLSError) -> String {
    var size = 1024
    for _ in 0..<2 {
      var bytes = [CChar](repeating: 0, count: size)
      let status = get(handle, &bytes, &size)
      if status >= 0 {
        return String(
          decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      }
      if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return "" }
      guard status == GNUTLS_E_SHORT_MEMORY_BUFFER, size > bytes.count, size < 1 << 20 else {
        throw TLSError(.nameNotDecoded, [tlsErrorText(status)])
      }
    }
    throw TLSError(.nameNotDecoded, [tlsErrorText(GNUTLS_E_SHORT_MEMORY_BUFFER)])
  }

  private func basicConstraints() throws(TLSError) -> Certificate.BasicConstraints {
    var isAuthority: UInt32 = 0
    let status = gnutls_x509_crt_get_basic_constraints(handle, nil, &isAuthority, nil)
    if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return .missing }
    guard status >= 0 else {
      throw TLSError(.constraintsNotDecoded, [tlsErrorText(status)])
    }
    return isAuthority != 0 ? .authority : .notAuthority
  }

  private func keyUsage() throws(TLSError) -> Certificate.Marked<Certificate.KeyUsage>? {
    var usage: UInt32 = 0
    var isCritical: UInt32 = 0
    let status = gnutls_x509_crt_get_key_usage(handle, &usage, &isCritical)
    if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return nil }
    guard status >= 0 else {
      throw TLSError(.keyUsageNotDecoded, [tlsErrorText(status)])
    }
    return .init(Certificate.KeyUsage(rawValue: usage), isCritical: isCritical != 0)
  }

  /// Decodes the extension once: requesting its entries one by one took 1.5 s for a hostile one with thousands.
  private func purposes() throws(TLSError) -> Certificate.Marked<[String]>? {
    func failure(_ status: Int32) -> TLSError {
      TLSError(.purposesNotDecoded, [tlsErrorText(status)])
    }
    var content = gnutls_datum_t()
    var isCritical: UInt32 = 0
    let status = gnutls_x509_crt_get_extension_by_oid2(
      handle, "2.5.29.37", 0, &content, &isCritical)
    if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return nil }
    guard status >= 0 else { throw failure(status) }
    defer { free(content.data) }
    var made: gnutls_x509_key_purposes_t?
    let allocated = gnutls_x509_key_purpose_init(&made)
    guard allocated >= 0, let made else { throw failure(allocated) }
    defer { gnutls_x509_key_purpose_deinit(made) }
    let imported = gnutls_x509_ext_import_key_purposes(&content, made, 0)
    guard imported >= 0 else { throw failure(imported) }
    var found: [String] = []
    for index in 0..<256 {
      var identifier = gnutls_datum_t()
      let status = gnutls_x509_key_purpose_get(made, UInt32(index), &identifier)
      if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { break }
      guard status >= 0 else { throw failure(status) }
      let bytes = UnsafeBufferPointer(start: identifier.data, count: Int(identifier.size))
      found.append(String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self))
    }
    return found.isEmpty ? nil : .init(found, isCritical: isCritical != 0)
  }

  /// Bits of an RSA key's exponent; nil: it cannot be read.
  var exponentBits: Int? {
    var modulus = gnutls_datum_t()
    var exponent = gnutls_datum_t()
    guard gnutls_x509_crt_get_pk_rsa_raw(handle, &modulus, &exponent) >= 0 else { return nil }
    defer {
      free(modulus.data)
      free(exponent.data)
    }
    let bytes = UnsafeBufferPointer(start: exponent.data, count: Int(exponent.size))
    guard let first = bytes.firstIndex(where: { $0 != 0 }) else { return 0 }
    return (bytes.count - first) * 8 - bytes[first].leadingZeroBitCount
  }

  private func fingerprint() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64)
    var size = bytes.count
    guard gnutls_x509_crt_get_fingerprint(handle, GNUTLS_DIG_SHA256, &bytes, &size) >= 0 else {
      return []
    }
    return Array(bytes[..<size])
  }

  /// Whether the certificate is valid for a host of that name or address.
  func isFor(host: String) -> Bool { gnutls_x509_crt_check_hostname(handle, host) != 0 }

  /// Why a chain, which begins with its leaf, does not lead to one of the authorities; nil: it does.
  static func error(inChain chain: [X509], from authorities: [X509]) -> Message? {
    let chain = chain.map { Optional($0.handle) }
    let authorities = authorities.map { Optional($0.handle) }
    var status: UInt32 = 0
    let result = gnutls_x509_crt_list_verify(
      chain, UInt32(clamping: chain.count), authorities, UInt32(clamping: authorities.count), nil,
      0,
      0, &status)
    return error(ofVerification: result, status)
  }

  /// Why a verification failed, from GnuTLS's result and the status bits; nil: it succeeded.
  static func error(ofVerification result: Int32, _ status: UInt32) -> Message? {
    guard result >= 0 else { return TLSError(gnutls: result).message }
    guard status != 0 else { return nil }
    let errors = reasons.filter { status & $0.bit.rawValue != 0 }.map { Message($0.definition) }
    return errors.isEmpty ? Message(.chainNotTrusted) : Message(joining: errors)
  }

  private static let reasons: [(bit: gnutls_certificate_status_t, definition: MessageDefinition)] =
    [
      (GNUTLS_CERT_REVOKED, .chainRevoked),
      (GNUTLS_CERT_SIGNER_NOT_FOUND, .chainIssuerUnknown),
      (GNUTLS_CERT_SIGNER_NOT_CA, .chainIssuerNotAuthority),
      (GNUTLS_CERT_INSECURE_ALGORITHM, .chainInsecureAlgorithm),
      (GNUTLS_CERT_NOT_ACTIVATED, .chainNotActivated),
      (GNUTLS_CERT_EXPIRED, .chainExpired),
      (GNUTLS_CERT_SIGNATURE_FAILURE, .chainSignatureInvalid),
      (GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED, .chainRevocationListOutdated),
      (GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE, .chainRevocationListInFuture),
      (GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, .chainConstraintsViolated),
      (GNUTLS_CERT_PURPOSE_MISMATCH, .chainPurposeMismatch),
      (GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS, .chainExtensionUnknown),
    ]
}

extension [UInt8] {
  /// The bytes in the form that GnuTLS takes.
  func withDatum<R>(_ body: (UnsafePointer<gnutls_datum_t>) -> R) -> R {
    withUnsafeBytes { bytes in
      var datum = gnutls_datum_t(
        data: UnsafeMutablePointer(
          mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)),
        size: UInt32(clamping: bytes.count))
      return body(&datum)
    }
  }
}
