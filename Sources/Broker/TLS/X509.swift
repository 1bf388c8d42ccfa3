// Certificates as GnuTLS reads them, turned into values.
import CGnuTLS
import Glibc

/// GnuTLS's words for one of its error numbers.
func tlsErrorText(_ number: Int32) -> String {
  gnutls_strerror(number).map { String(cString: $0) } ?? "error \(number)"
}

/// Why a file or a certificate cannot be used.
struct TLSError: Error, Equatable, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// One certificate in GnuTLS's hands.
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
    guard status >= 0, let list else { throw TLSError(tlsErrorText(status)) }
    defer { free(list) }
    return (0..<Int(count)).compactMap { list[$0].map { X509(owning: $0) } }
  }

  /// One certificate as it comes over the wire.
  init(der: UnsafePointer<gnutls_datum_t>) throws(TLSError) {
    var made: gnutls_x509_crt_t?
    let status = gnutls_x509_crt_init(&made)
    guard status >= 0, let made else { throw TLSError(tlsErrorText(status)) }
    handle = made
    let imported = gnutls_x509_crt_import(handle, der, GNUTLS_X509_FMT_DER)
    guard imported >= 0 else { throw TLSError(tlsErrorText(imported)) }
  }

  /// What it says. Throws where something in it cannot be understood.
  func certificate() throws(TLSError) -> Certificate {
    let activation = gnutls_x509_crt_get_activation_time(handle)
    let expiration = gnutls_x509_crt_get_expiration_time(handle)
    guard activation != -1, expiration != -1 else {
      throw TLSError("its dates cannot be read")
    }
    return Certificate(
      subject: try name(gnutls_x509_crt_get_dn),
      issuer: try name(gnutls_x509_crt_get_issuer_dn),
      activation: Int64(activation), expiration: Int64(expiration),
      basicConstraints: try basicConstraints(), keyUsage: try keyUsage(),
      purposes: try purposes(), fingerprint: fingerprint())
  }

  /// Empty where there is none: names may be in the extensions alone.
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
        throw TLSError("a name in it cannot be read: \(tlsErrorText(status))")
      }
    }
    throw TLSError("a name in it cannot be read: it grows")
  }

  private func basicConstraints() throws(TLSError) -> Certificate.BasicConstraints {
    var isAuthority: UInt32 = 0
    let status = gnutls_x509_crt_get_basic_constraints(handle, nil, &isAuthority, nil)
    if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return .missing }
    guard status >= 0 else {
      throw TLSError("its basic constraints cannot be read: \(tlsErrorText(status))")
    }
    return isAuthority != 0 ? .authority : .notAuthority
  }

  private func keyUsage() throws(TLSError) -> Certificate.Marked<Certificate.KeyUsage>? {
    var usage: UInt32 = 0
    var isCritical: UInt32 = 0
    let status = gnutls_x509_crt_get_key_usage(handle, &usage, &isCritical)
    if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return nil }
    guard status >= 0 else {
      throw TLSError("its key usage cannot be read: \(tlsErrorText(status))")
    }
    return .init(Certificate.KeyUsage(rawValue: usage), isCritical: isCritical != 0)
  }

  /// Decodes the extension once: asking for its entries one by one took 1.5 s where a hostile one had thousands.
  private func purposes() throws(TLSError) -> Certificate.Marked<[String]>? {
    func trouble(_ status: Int32) -> TLSError {
      TLSError("its extended key usage cannot be read: \(tlsErrorText(status))")
    }
    var content = gnutls_datum_t()
    var isCritical: UInt32 = 0
    let status = gnutls_x509_crt_get_extension_by_oid2(
      handle, "2.5.29.37", 0, &content, &isCritical)
    if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return nil }
    guard status >= 0 else { throw trouble(status) }
    defer { free(content.data) }
    var made: gnutls_x509_key_purposes_t?
    let allocated = gnutls_x509_key_purpose_init(&made)
    guard allocated >= 0, let made else { throw trouble(allocated) }
    defer { gnutls_x509_key_purpose_deinit(made) }
    let imported = gnutls_x509_ext_import_key_purposes(&content, made, 0)
    guard imported >= 0 else { throw trouble(imported) }
    var found: [String] = []
    for index in 0..<256 {
      var identifier = gnutls_datum_t()
      let status = gnutls_x509_key_purpose_get(made, UInt32(index), &identifier)
      if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { break }
      guard status >= 0 else { throw trouble(status) }
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

  /// Whether it is good for a host of that name or address.
  func isFor(host: String) -> Bool { gnutls_x509_crt_check_hostname(handle, host) != 0 }

  /// What GnuTLS has against a chain, beginning with its leaf; empty where it leads to an authority.
  static func trouble(
    ofChain chain: [X509], from authorities: [X509]
  ) -> String {
    let chain = chain.map { Optional($0.handle) }
    let authorities = authorities.map { Optional($0.handle) }
    var status: UInt32 = 0
    let result = gnutls_x509_crt_list_verify(
      chain, UInt32(clamping: chain.count), authorities, UInt32(clamping: authorities.count), nil,
      0,
      0, &status)
    guard result >= 0 else { return tlsErrorText(result) }
    return verificationText(status)
  }
}

/// The words for the bits of a chain's verification; empty for none.
func verificationText(_ status: UInt32) -> String {
  guard status != 0 else { return "" }
  let bits: [(gnutls_certificate_status_t, String)] = [
    (GNUTLS_CERT_REVOKED, "it has been revoked"),
    (GNUTLS_CERT_SIGNER_NOT_FOUND, "its issuer is not known"),
    (GNUTLS_CERT_SIGNER_NOT_CA, "its issuer is no certificate authority"),
    (GNUTLS_CERT_INSECURE_ALGORITHM, "it is signed with an insecure algorithm"),
    (GNUTLS_CERT_NOT_ACTIVATED, "it or one of its issuers is not valid yet"),
    (GNUTLS_CERT_EXPIRED, "it or one of its issuers has expired"),
    (GNUTLS_CERT_SIGNATURE_FAILURE, "its signature is wrong"),
    (GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED, "the revocation list is out of date"),
    (
      GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE, "the revocation list is dated in the future"
    ),
    (
      GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, "it breaks its issuer's constraints"
    ),
    (GNUTLS_CERT_PURPOSE_MISMATCH, "it is not for this purpose"),
    (GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS, "it has an unknown critical extension"),
  ]
  let words = bits.filter { status & $0.0.rawValue != 0 }.map(\.1)
  return words.isEmpty ? "it is not trusted" : words.joined(separator: ", ")
}

extension [UInt8] {
  /// The bytes as GnuTLS takes them.
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
