// TLS as a libvirt client speaks it: the one file here that knows GnuTLS.
import CGnuTLS
import Glibc

/// Whom a client trusts and who it is. Loaded once and shared by all connections.
public final class TLSCredentials: @unchecked Sendable, Equatable {
  // GnuTLS lets many threads use credentials that nobody changes any more.
  fileprivate let handle: gnutls_certificate_credentials_t
  /// Whether the server's certificate is looked at.
  fileprivate let isVerifying: Bool

  /// `authorities`, `certificate` and `key` are PEM files. Without authorities those of the system
  /// are trusted. With `isVerifying` false any server will do.
  public init(
    authorities: String?, certificate: String? = nil, key: String? = nil, isVerifying: Bool = true
  ) throws(EndFailure) {
    var handle: gnutls_certificate_credentials_t?
    let code = gnutls_certificate_allocate_credentials(&handle)
    guard code == GNUTLS_E_SUCCESS, let handle else { throw .tls("preparing TLS", code) }
    self.handle = handle
    self.isVerifying = isVerifying
    let isPEM: gnutls_x509_crt_fmt_t = GNUTLS_X509_FMT_PEM
    if let authorities {
      // The count of certificates, or a negative error.
      let count = gnutls_certificate_set_x509_trust_file(handle, authorities, isPEM)
      if count < 0 { throw .tls("reading the CA certificate \(authorities)", count) }
      if count == 0 { throw EndFailure("there is no certificate in \(authorities)") }
    } else if isVerifying {
      let count = gnutls_certificate_set_x509_system_trust(handle)
      if count < 0 { throw .tls("reading the CA certificates of the system", count) }
    }
    switch (certificate, key) {
    case (let certificate?, let key?):
      let code = gnutls_certificate_set_x509_key_file(handle, certificate, key, isPEM)
      guard code == GNUTLS_E_SUCCESS else { throw .tls("reading \(certificate) and \(key)", code) }
    case (nil, nil): break
    default: throw EndFailure("a certificate and its key go together: name both or neither")
    }
  }

  deinit { gnutls_certificate_free_credentials(handle) }

  public static func == (one: TLSCredentials, other: TLSCredentials) -> Bool { one === other }
}

/// One TLS connection over a socket that does not block. One thread uses it.
final class TLSSession: @unchecked Sendable {
  private let session: gnutls_session_t
  /// Kept because the session only borrows them.
  private let credentials: TLSCredentials
  /// What goes into the next record. A record that the kernel did not take is given again as it was.
  private let staging = UnsafeMutableRawBufferPointer.allocate(
    byteCount: largestRecord, alignment: 64)
  private var staged = 0
  private static let largestRecord = 16_384

  /// Greets as `role` says; `host` is whom the server's certificate must name.
  init(
    _ role: gnutls_init_flags_t, over descriptor: Int32, _ credentials: TLSCredentials,
    host: String? = nil
  ) throws(EndFailure) {
    var session: gnutls_session_t?
    let flags =
      role.rawValue | UInt32(GNUTLS_NONBLOCK.rawValue) | UInt32(GNUTLS_NO_SIGNAL.rawValue)
    var code = gnutls_init(&session, flags)
    guard code == GNUTLS_E_SUCCESS, let session else { throw .tls("preparing TLS", code) }
    self.session = session
    self.credentials = credentials
    code = gnutls_set_default_priority(session)
    if code == GNUTLS_E_SUCCESS {
      code = gnutls_credentials_set(
        session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.handle))
    }
    guard code == GNUTLS_E_SUCCESS else { throw .tls("preparing TLS", code) }
    if let host, credentials.isVerifying { gnutls_session_set_verify_cert(session, host, 0) }
    gnutls_transport_set_int2(session, descriptor, descriptor)
    let mode = fcntl(descriptor, F_GETFL)
    guard mode >= 0, fcntl(descriptor, F_SETFL, mode | O_NONBLOCK) == 0 else {
      throw .system("making a socket not block")
    }
  }

  deinit {
    gnutls_deinit(session)
    staging.deallocate()
  }

  /// Whether decrypted bytes wait that no descriptor announces.
  var hasPending: Bool { gnutls_record_check_pending(session) > 0 }

  /// One step of the handshake: nil when it is done, or the poll events to wait for.
  func shakeHands() throws(EndFailure) -> Int32? {
    let code = gnutls_handshake(session)
    if code == GNUTLS_E_SUCCESS { return nil }
    if code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR {
      throw EndFailure("the server's certificate does not pass: \(verdict)")
    }
    guard gnutls_error_is_fatal(code) == 0 else { throw .tls("the TLS handshake", code) }
    return gnutls_record_get_direction(session) == 1 ? POLLOUT : POLLIN
  }

  /// Decrypts what is there; nil when that is nothing yet, 0 at the end.
  func receive(into room: UnsafeMutableRawBufferPointer) throws(EndFailure) -> Int? {
    while true {
      let count = gnutls_record_recv(session, room.baseAddress, room.count)
      if count >= 0 { return count }
      let code = Int32(truncatingIfNeeded: count)
      if code == GNUTLS_E_AGAIN { return nil }
      // As a server that is gone looks to one that did not say goodbye: libvirt does not either.
      if code == GNUTLS_E_PREMATURE_TERMINATION { return 0 }
      // Session tickets, key updates and signals pass by.
      guard gnutls_error_is_fatal(code) == 0 else { throw .tls("receiving", code) }
    }
  }

  /// Encrypts at most a record of the pieces and sends it; how many of their bytes that were, 0 when
  /// the kernel took no more. After a 0 the same bytes are to be given again.
  func send(_ pieces: UnsafePointer<iovec>, _ count: Int) throws(EndFailure) -> Int {
    if staged == 0 {
      for index in 0..<count {
        let size = min(pieces[index].iov_len, Self.largestRecord - staged)
        guard size > 0, let bytes = pieces[index].iov_base else { continue }
        (staging.baseAddress! + staged).copyMemory(from: bytes, byteCount: size)
        staged += size
      }
      if staged == 0 { return 0 }
    }
    while true {
      let moved = gnutls_record_send(session, staging.baseAddress, staged)
      if moved >= 0 {
        // GnuTLS sends a record whole, so this is all of it.
        staged = 0
        return moved
      }
      let code = Int32(truncatingIfNeeded: moved)
      if code == GNUTLS_E_AGAIN { return 0 }
      guard gnutls_error_is_fatal(code) == 0 else { throw .tls("sending", code) }
    }
  }

  /// What verification found wrong, in GnuTLS's words.
  private var verdict: String {
    let status = gnutls_session_get_verify_cert_status(session)
    var text = gnutls_datum_t()
    guard gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0
    else { return "status \(status)" }
    defer { free(text.data) }
    return String(
      decoding: UnsafeRawBufferPointer(start: text.data, count: Int(text.size)), as: UTF8.self
    ).trimmingSuffix(" ")
  }
}

extension String {
  fileprivate func trimmingSuffix(_ last: Character) -> String {
    var text = self
    while text.last == last { text.removeLast() }
    return text
  }
}

extension EndFailure {
  static func tls(_ what: String, _ code: Int32) -> EndFailure {
    EndFailure("\(what): \(String(cString: gnutls_strerror(code)))")
  }
}
