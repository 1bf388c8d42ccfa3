// A TLS peer with certificates and signatures that no library makes. It has none of the private keys.
public import CGnuTLS
import Glibc

/// DER elements, for certificates that GnuTLS would not make.
public enum DER {
  public static func element(_ tag: UInt8, _ content: [UInt8]...) -> [UInt8] {
    let content = content.flatMap { $0 }
    return [tag] + length(content.count) + content
  }

  private static func length(_ count: Int) -> [UInt8] {
    guard count > 127 else { return [UInt8(count)] }
    var bytes: [UInt8] = []
    var rest = count
    while rest > 0 {
      bytes.insert(UInt8(truncatingIfNeeded: rest), at: 0)
      rest >>= 8
    }
    return [0x80 | UInt8(bytes.count)] + bytes
  }

  /// An unsigned number, most significant byte first.
  public static func integer(_ bytes: [UInt8]) -> [UInt8] {
    element(2, (bytes.first ?? 0) > 127 ? [0] + bytes : bytes)
  }

  /// Object identifiers.
  public static let dsa: [UInt8] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1]
  public static let rsa: [UInt8] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]
  private static let sha256WithRSA = element(
    0x30, [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0])

  /// An odd number of this many bits whose prime factors are not known.
  public static func number(bits: Int) -> [UInt8] {
    var bytes = (0..<(bits + 7) / 8).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ 13) }
    bytes[0] = 1 << UInt8((bits - 1) % 8)
    bytes[bytes.count - 1] |= 1
    return bytes
  }

  /// An RSA public key.
  public static func rsaKey(bits: Int, exponentBits: Int) -> [UInt8] {
    key(
      element(0x30, rsa, [5, 0]),
      element(0x30, integer(number(bits: bits)), integer(number(bits: exponentBits))))
  }

  public static func key(_ algorithm: [UInt8], _ content: [UInt8]) -> [UInt8] {
    element(0x30, algorithm, element(3, [0], content))
  }

  /// A name with the given common names.
  public static func name(_ names: [String]) -> [UInt8] {
    element(
      0x30,
      names.flatMap {
        element(0x31, element(0x30, [6, 3, 0x55, 4, 3], element(0x0c, Array($0.utf8))))
      })
  }

  /// A certificate extension.
  public static func `extension`(_ identifier: [UInt8], _ content: [UInt8]) -> [UInt8] {
    element(0x30, element(6, identifier), element(4, content))
  }

  /// A certificate with an invalid signature.
  public static func certificate(
    key: [UInt8], subject: [UInt8] = name(["x"]), issuer: [UInt8] = name(["y"]),
    extensions: [UInt8] = []
  ) -> [UInt8] {
    let dates = element(
      0x30, element(0x17, Array("200101000000Z".utf8)), element(0x17, Array("400101000000Z".utf8)))
    let content = element(
      0x30, element(0xa0, integer([2])), integer([1]), sha256WithRSA, issuer, dates, subject, key,
      extensions.isEmpty ? [] : element(0xa3, element(0x30, extensions)))
    return element(
      0x30, content, sha256WithRSA, element(3, [0], [UInt8](repeating: 7, count: 256)))
  }
}

/// One end of a connection. It presents any certificates and signs with any bytes. The caller owns the descriptor.
public final class ForgedPeer: @unchecked Sendable {
  public let session: gnutls_session_t
  private let credentials: gnutls_certificate_credentials_t
  private var chain: [gnutls_pcert_st]
  private let key: gnutls_privkey_t
  private let list: UnsafeMutablePointer<gnutls_pcert_st>
  private let signatureBytes: Int

  /// - Parameter chain: certificates in DER, first the leaf, which has an RSA key.
  public init(
    _ descriptor: Int32, isServer: Bool = false, chain: [[UInt8]], signatureBytes: Int,
    priority: String = "NORMAL"
  ) throws {
    var session: gnutls_session_t?
    let role: gnutls_init_flags_t = isServer ? GNUTLS_SERVER : GNUTLS_CLIENT
    try check(gnutls_init(&session, role.rawValue), "session")
    var store: gnutls_certificate_credentials_t?
    try check(gnutls_certificate_allocate_credentials(&store), "credentials")
    var key: gnutls_privkey_t?
    try check(gnutls_privkey_init(&key), "key")
    guard let session, let store, let key else { throw MakerTrouble(description: "no session") }
    self.session = session
    credentials = store
    self.key = key
    self.signatureBytes = signatureBytes
    self.chain = try chain.map { certificate in
      var certificate = certificate
      var made = gnutls_pcert_st()
      try certificate.withUnsafeMutableBufferPointer {
        var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
        try check(
          gnutls_pcert_import_x509_raw(&made, &datum, GNUTLS_X509_FMT_DER, 0), "certificate")
      }
      return made
    }
    list = .allocate(capacity: max(1, chain.count))
    list.initialize(from: self.chain, count: chain.count)
    gnutls_session_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
    try check(
      gnutls_privkey_import_ext4(
        key, Unmanaged.passUnretained(self).toOpaque(),
        { _, _, pointer, _, _, signature in ForgedPeer.sign(pointer, signature) },
        { _, _, pointer, _, _, signature in ForgedPeer.sign(pointer, signature) }, nil, nil,
        { _, what, pointer in
          if what == UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO) { return Int32(GNUTLS_PK_RSA.rawValue) }
          guard what == UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS), let pointer else { return 1 }
          let peer = Unmanaged<ForgedPeer>.fromOpaque(pointer).takeUnretainedValue()
          return Int32(peer.signatureBytes * 8)
        }, 0), "key")
    gnutls_certificate_set_retrieve_function2(store) { session, _, _, _, _, list, count, key in
      guard let pointer = gnutls_session_get_ptr(session) else { return -1 }
      let peer = Unmanaged<ForgedPeer>.fromOpaque(pointer).takeUnretainedValue()
      list?.pointee = peer.list
      count?.pointee = UInt32(peer.chain.count)
      key?.pointee = peer.key
      return 0
    }
    try check(
      gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(store)),
      "credentials")
    try check(gnutls_priority_set_direct(session, priority, nil), "priority")
    gnutls_transport_set_int2(session, descriptor, descriptor)
    gnutls_handshake_set_timeout(session, 120_000)
    gnutls_record_set_timeout(session, 120_000)
  }

  deinit {
    gnutls_deinit(session)
    gnutls_certificate_free_credentials(credentials)
    for index in chain.indices { gnutls_pcert_deinit(&chain[index]) }
    list.deallocate()
    gnutls_privkey_deinit(key)
  }

  private static func sign(
    _ pointer: UnsafeMutableRawPointer?, _ signature: UnsafeMutablePointer<gnutls_datum_t>?
  ) -> Int32 {
    guard let pointer, let signature else { return -1 }
    let peer = Unmanaged<ForgedPeer>.fromOpaque(pointer).takeUnretainedValue()
    let size = peer.signatureBytes
    let bytes = malloc(size)?.assumingMemoryBound(to: UInt8.self)
    bytes?.initialize(repeating: 1, count: size)
    signature.pointee = gnutls_datum_t(data: bytes, size: UInt32(size))
    return 0
  }

  public func handshake() throws {
    while true {
      let status = gnutls_handshake(session)
      if status == GNUTLS_E_SUCCESS { return }
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_AGAIN { continue }
      try check(status, "handshake")
    }
  }
}

private func check(_ status: Int32, _ what: String) throws {
  guard status >= 0 else {
    throw MakerTrouble(description: "\(what): \(String(cString: gnutls_strerror(status)))")
  }
}
