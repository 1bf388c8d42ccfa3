// A simple TLS client with GnuTLS: it blocks, and has a deadline for everything.
public import CGnuTLS
import Glibc

/// What a client presents and accepts.
public struct ClientIdentity: Sendable {
  /// PEM: the certificate, followed by its chain to an authority.
  public var certificate: String?
  public var key: String?
  public var priority = "NORMAL"
  public init(certificate: String? = nil, key: String? = nil, priority: String = "NORMAL") {
    self.certificate = certificate
    self.key = key
    self.priority = priority
  }

  public init(_ certificate: MadeCertificate, chain: [MadeCertificate] = []) throws {
    self.certificate = try ([certificate] + chain).map { try $0.pem }.joined()
    key = try certificate.keyPEM
  }
}

/// One end of a connection. The caller owns the descriptor.
public final class TLSClient: @unchecked Sendable {
  public let session: gnutls_session_t
  private let credentials: gnutls_certificate_credentials_t
  private var chain: UnsafeMutablePointer<gnutls_x509_crt_t?>?
  private var length = 0
  private var key: gnutls_x509_privkey_t?

  public init(_ descriptor: Int32, as identity: ClientIdentity) throws {
    var made: gnutls_session_t?
    let role: gnutls_init_flags_t = GNUTLS_CLIENT
    try check(gnutls_init(&made, role.rawValue), "session")
    var store: gnutls_certificate_credentials_t?
    try check(gnutls_certificate_allocate_credentials(&store), "credentials")
    guard let made, let store else { throw MakerTrouble(description: "no session") }
    session = made
    credentials = store
    if let certificate = identity.certificate, let pem = identity.key {
      var count: UInt32 = 0
      try check(
        datum(certificate) {
          gnutls_x509_crt_list_import2(&chain, &count, $0, GNUTLS_X509_FMT_PEM, 0)
        }, "certificate")
      length = Int(count)
      try check(gnutls_x509_privkey_init(&key), "key")
      try check(
        datum(pem) { gnutls_x509_privkey_import2(key, $0, GNUTLS_X509_FMT_PEM, nil, 0) }, "key")
    }
    // The client presents its certificate whatever authorities the server names, so that the server's own check is
    // tested.
    gnutls_session_set_ptr(made, Unmanaged.passUnretained(self).toOpaque())
    gnutls_certificate_set_retrieve_function(store) { session, _, _, _, _, answer in
      guard let pointer = gnutls_session_get_ptr(session), let answer else { return -1 }
      let client = Unmanaged<TLSClient>.fromOpaque(pointer).takeUnretainedValue()
      answer.pointee.cert_type = GNUTLS_CRT_X509
      answer.pointee.key_type = GNUTLS_PRIVKEY_X509
      answer.pointee.ncerts = UInt32(client.length)
      answer.pointee.cert.x509 = client.chain
      answer.pointee.key.x509 = client.key
      answer.pointee.deinit_all = 0
      return 0
    }
    try check(
      gnutls_credentials_set(made, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(store)),
      "credentials")
    try check(gnutls_priority_set_direct(made, identity.priority, nil), "priority")
    gnutls_transport_set_int2(made, descriptor, descriptor)
    gnutls_handshake_set_timeout(made, 20_000)
    gnutls_record_set_timeout(made, 20_000)
  }

  deinit {
    gnutls_deinit(session)
    gnutls_certificate_free_credentials(credentials)
    for index in 0..<length { gnutls_x509_crt_deinit(chain?[index]) }
    free(chain)
    if let key { gnutls_x509_privkey_deinit(key) }
  }

  public func handshake() throws {
    while true {
      let status = gnutls_handshake(session)
      if status == GNUTLS_E_SUCCESS { return }
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_AGAIN { continue }
      try check(status, "handshake")
    }
  }

  /// The next bytes, at most `count`. Empty after the server's close_notify.
  public func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    while true {
      let got = gnutls_record_recv(session, &bytes, count)
      if got >= 0 { return Array(bytes.prefix(got)) }
      let status = Int32(truncatingIfNeeded: got)
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_AGAIN { continue }
      try check(status, "receiving")
    }
  }

  public func receiveAll(_ count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let some = try receive(min(count - bytes.count, 1 << 16))
      guard !some.isEmpty else { throw MakerTrouble(description: "the server said goodbye") }
      bytes += some
    }
    return bytes
  }

  public func send(_ bytes: some Collection<UInt8>) throws {
    let bytes = Array(bytes)
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        gnutls_record_send(session, $0.baseAddress.map { $0 + sent }, $0.count - sent)
      }
      if count > 0 {
        sent += count
        continue
      }
      let status = Int32(truncatingIfNeeded: count)
      if status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_AGAIN { continue }
      try check(status, "sending")
    }
  }

  /// Changes this end's sending keys, and requests new ones from the server if `both`.
  public func updateKeys(both: Bool) throws {
    try check(gnutls_session_key_update(session, both ? UInt32(GNUTLS_KU_PEER) : 0), "new keys")
  }

  public func close() { gnutls_bye(session, GNUTLS_SHUT_WR) }

  /// For example `TLS1.3 AES-256-GCM`.
  public var parameters: String {
    String(cString: gnutls_protocol_get_name(gnutls_protocol_get_version(session))) + " "
      + String(cString: gnutls_cipher_get_name(gnutls_cipher_get(session)))
  }
}

private func check(_ status: Int32, _ what: String) throws {
  guard status >= 0 else {
    throw MakerTrouble(description: "\(what): \(String(cString: gnutls_strerror(status)))")
  }
}

private func datum(_ text: String, _ body: (UnsafePointer<gnutls_datum_t>) -> Int32) -> Int32 {
  var bytes = Array(text.utf8)
  return bytes.withUnsafeMutableBufferPointer {
    var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
    return body(&datum)
  }
}

extension TLSClient {
  /// The name in the certificate that the server presented.
  public var servedName: String {
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(session, &count), count > 0 else { return "" }
    var made: gnutls_x509_crt_t?
    guard gnutls_x509_crt_init(&made) >= 0, let made else { return "" }
    defer { gnutls_x509_crt_deinit(made) }
    var name = [CChar](repeating: 0, count: 256)
    var size = name.count
    guard gnutls_x509_crt_import(made, list, GNUTLS_X509_FMT_DER) >= 0,
      gnutls_x509_crt_get_dn(made, &name, &size) >= 0
    else { return "" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
