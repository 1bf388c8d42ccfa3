// TLS as a libvirt client uses it. Only this file uses GnuTLS.
import CGnuTLS
import Glibc
import Streams

/// The output of `virtbench --version`.
public enum EndsVersion {
  /// The project's version.
  public static let text = ProjectVersion.text
  /// The version of the library in use.
  public static var gnuTLS: String {
    gnutls_check_version(nil).map { String(cString: $0) } ?? "unknown"
  }
}

/// The authorities that a client trusts, and its own certificate. Loaded once and shared by all connections.
public final class TLSCredentials: @unchecked Sendable, Equatable {
  // GnuTLS allows many threads to use credentials that do not change.
  fileprivate let handle: gnutls_certificate_credentials_t
  /// Whether the server's certificate is verified.
  fileprivate let isVerifying: Bool

  /// `authorities`, `certificate` and `key` are PEM files. Without `authorities` the system's are trusted. With
  /// `isVerifying` false every server is accepted.
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
      // The number of certificates, or a negative error.
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
  /// Kept because the session only has a pointer to them.
  private let credentials: TLSCredentials
  private let descriptor: Int32
  /// The name that the server's certificate must have. GnuTLS does not copy it.
  private var host: UnsafeMutablePointer<CChar>?
  /// The content of a record whose bytes are in several pieces.
  private let staging = UnsafeMutableRawBufferPointer.allocate(
    byteCount: largestRecord, alignment: 64)
  /// Received and outgoing records, many for each system call: GnuTLS itself makes two calls for each received record
  /// and one for each sent. GnuTLS also encrypts, so this code shares nothing with the measured broker.
  private var input = Records(records: 16)
  private var output = Records(records: 16)
  /// Bytes whose record waits in `output` and which `send` has not reported as sent.
  private var owed = 0
  private static let largestRecord = 16_384

  /// Bytes between the socket and GnuTLS: `head ..< tail` of a buffer.
  private struct Records {
    let bytes: UnsafeMutableRawBufferPointer
    var head = 0
    var tail = 0
    var room: Int { bytes.count - tail }
    var count: Int { tail - head }

    init(records: Int) { bytes = .allocate(byteCount: records * 16_661, alignment: 64) }
  }

  /// Prepares a session in the given role; the server's certificate must name `host`.
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
    self.descriptor = descriptor
    code = gnutls_set_default_priority(session)
    if code == GNUTLS_E_SUCCESS {
      code = gnutls_credentials_set(
        session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.handle))
    }
    guard code == GNUTLS_E_SUCCESS else { throw .tls("preparing TLS", code) }
    if let host, credentials.isVerifying {
      self.host = strdup(host)
      gnutls_session_set_verify_cert(session, self.host, 0)
    }
    attach()
    let mode = fcntl(descriptor, F_GETFL)
    guard mode >= 0, fcntl(descriptor, F_SETFL, mode | O_NONBLOCK) == 0 else {
      throw .system("making a socket not block")
    }
  }

  deinit {
    gnutls_deinit(session)
    staging.deallocate()
    for records in [input, output] { records.bytes.deallocate() }
    free(host)
  }

  private func attach() {
    gnutls_transport_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
    gnutls_transport_set_pull_function(session) { pointer, room, count in
      guard let pointer, let room else { return -1 }
      return Unmanaged<TLSSession>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.pull(room, count)
      }
    }
    gnutls_transport_set_push_function(session) { pointer, bytes, count in
      guard let pointer, let bytes else { return -1 }
      return Unmanaged<TLSSession>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.push(bytes, count)
      }
    }
  }

  /// Gives GnuTLS ciphertext from the last read until it is used up.
  private func pull(_ room: UnsafeMutableRawPointer, _ count: Int) -> Int {
    guard let base = input.bytes.baseAddress else { return -1 }
    if input.count == 0 {
      let received = fill()
      guard received > 0 else {
        if received < 0 { gnutls_transport_set_errno(session, errno) }
        return received
      }
    }
    let here = min(count, input.count)
    room.copyMemory(from: base + input.head, byteCount: here)
    input.head += here
    return here
  }

  /// Reads once, after the bytes that wait already. Returns the kernel's result.
  private func fill() -> Int {
    guard let base = input.bytes.baseAddress else { return 0 }
    if input.head > 0 {
      base.copyMemory(from: base + input.head, byteCount: input.count)
      input.tail -= input.head
      input.head = 0
    }
    let received = recv(descriptor, base + input.tail, input.room, Int32(MSG_DONTWAIT))
    if received > 0 { input.tail += received }
    return received
  }

  /// Keeps GnuTLS's ciphertext for the next `flush`.
  private func push(_ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    let here = min(count, output.room)
    guard here > 0, let base = output.bytes.baseAddress else {
      gnutls_transport_set_errno(session, EAGAIN)
      return -1
    }
    (base + output.tail).copyMemory(from: bytes, byteCount: here)
    output.tail += here
    return here
  }

  /// Sends the ciphertext. Returns whether all of it was sent.
  private func flush() throws(EndFailure) -> Bool {
    while output.count > 0, let base = output.bytes.baseAddress {
      let sent = Glibc.send(
        descriptor, base + output.head, output.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
      if sent > 0 {
        output.head += sent
      } else if errno == EAGAIN {
        return false
      } else if errno != EINTR {
        throw .system("sending")
      }
    }
    output.head = 0
    output.tail = 0
    return true
  }

  /// Whether bytes are buffered, for which the descriptor does not become readable.
  var hasPending: Bool { input.count > 0 || gnutls_record_check_pending(session) > 0 }

  /// One step of the handshake. Returns nil when it is done, or the poll events to wait for.
  func shakeHands() throws(EndFailure) -> Int32? {
    let code = gnutls_handshake(session)
    guard try flush() else { return POLLOUT }
    if code == GNUTLS_E_SUCCESS { return nil }
    if code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR {
      throw EndFailure("the server's certificate does not pass: \(verdict)")
    }
    guard gnutls_error_is_fatal(code) == 0 else { throw .tls("the TLS handshake", code) }
    return POLLIN
  }

  /// Decrypts as many available bytes as there is space for. Returns nil if there are none yet, and 0 at the end.
  func receive(into room: UnsafeMutableRawBufferPointer) throws(EndFailure) -> Int? {
    var total = 0
    while total < room.count, let base = room.baseAddress {
      let count = gnutls_record_recv(session, base + total, room.count - total)
      if count > 0 {
        total += count
        // What needs another system call is done after the next poll of the socket.
        if hasPending { continue }
        return total
      }
      let code = Int32(truncatingIfNeeded: count)
      if code == GNUTLS_E_AGAIN { return total > 0 ? total : nil }
      // Without close_notify, which libvirt does not send either.
      if code == 0 || code == GNUTLS_E_PREMATURE_TERMINATION { return total }
      // Session tickets, key updates and signals are not errors.
      guard gnutls_error_is_fatal(code) == 0 else { throw .tls("receiving", code) }
    }
    return total
  }

  /// Encrypts as many records of the pieces as there is space for and sends them. Returns the number of bytes sent; 0
  /// if the kernel accepted none. The next call must begin with the bytes after those. The bytes of the last record
  /// count as sent only after the kernel has accepted all of it, so that the caller calls again.
  func send(_ pieces: UnsafePointer<iovec>, _ count: Int) throws(EndFailure) -> Int {
    guard try flush() else { return 0 }
    if owed > 0 {
      defer { owed = 0 }
      return owed
    }
    var taken = 0
    var last = 0
    // The overhead of a record, and of a key update before it.
    while output.room >= Self.largestRecord + 512 {
      let (bytes, size) = record(of: pieces, count, from: taken)
      guard size > 0 else { break }
      let moved = try encrypt(bytes, size)
      last = moved
      taken += moved
    }
    if try flush() { return taken }
    owed = last
    return taken - last
  }

  /// Encrypts one record of at most this many bytes, after those that wait.
  private func encrypt(
    _ bytes: UnsafeMutableRawPointer?, _ size: Int
  ) throws(EndFailure) -> Int {
    let moved = gnutls_record_send(session, bytes, size)
    guard moved > 0 else { throw .tls("sending", Int32(truncatingIfNeeded: moved)) }
    return moved
  }

  /// The next record's bytes, `from` bytes into the pieces: their address, or a copy in one piece.
  private func record(
    of pieces: UnsafePointer<iovec>, _ count: Int, from start: Int
  ) -> (UnsafeMutableRawPointer?, Int) {
    var skip = start
    var staged = 0
    for index in 0..<count {
      let length = pieces[index].iov_len
      guard length > skip, let base = pieces[index].iov_base else {
        skip -= length
        continue
      }
      let size = min(length - skip, Self.largestRecord - staged)
      if size == Self.largestRecord { return (base + skip, size) }
      staging.baseAddress.map { $0 + staged }?.copyMemory(from: base + skip, byteCount: size)
      staged += size
      skip = 0
      if staged == Self.largestRecord { break }
    }
    return (staging.baseAddress, staged)
  }

  /// The result of a failed verification, in GnuTLS's words.
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
