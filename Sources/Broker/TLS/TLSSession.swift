// A TLS session over a socket. It buffers records, so that one system call moves many.
import CGnuTLS
import Glibc
import Streams

/// One end of a TLS connection. It owns the socket and keeps the credentials that it was made with.
final class TLSSession {
  /// The result of a step of the handshake.
  enum Step: Equatable {
    case done
    case blocked(Interest)
    case failed(Message)
  }

  let handle: gnutls_session_t
  let credentials: TLSCredentials?
  /// An empty store for a session made by `init(asking:)`.
  private var ownStore: gnutls_certificate_credentials_t?
  private let descriptor: Descriptor
  /// The pool of buffers. A buffer may return to another pool: all are alike.
  var buffers: TLSBuffers
  /// Ciphertext received and not decrypted, and ciphertext encrypted and not sent.
  var input = TLSBuffer()
  var output = TLSBuffer()
  /// The positions at which sent packets begin.
  private var edges = PacketEdges()
  private(set) var source = TLSSource()
  var state = TLSState.handshaking
  var handshakeState = TLSHandshakeState()
  var records = TLSRecords()

  var number: Int32 { descriptor.number }

  /// The broker's end of an accepted connection.
  convenience init(
    serving descriptor: consuming Descriptor, with credentials: TLSCredentials, buffers: TLSBuffers
  ) throws(TLSError) {
    try self.init(GNUTLS_SERVER, descriptor, credentials, buffers)
    // Requested but not required: the broker refuses a client without a certificate with a more precise reason.
    gnutls_certificate_server_set_request(handle, GNUTLS_CERT_REQUEST)
  }

  /// The broker's end of a connection that it has made.
  convenience init(
    connecting descriptor: consuming Descriptor, with credentials: TLSCredentials,
    buffers: TLSBuffers
  ) throws(TLSError) {
    try self.init(GNUTLS_CLIENT, descriptor, credentials, buffers)
  }

  private init(
    _ role: gnutls_init_flags_t, _ descriptor: consuming Descriptor,
    _ credentials: TLSCredentials, _ buffers: TLSBuffers
  ) throws(TLSError) {
    var made: gnutls_session_t?
    // Without resumption every handshake verifies its client.
    let flags: [gnutls_init_flags_t] = [role, GNUTLS_NONBLOCK, GNUTLS_NO_SIGNAL, GNUTLS_NO_TICKETS]
    let status = gnutls_init(&made, flags.reduce(0) { $0 | $1.rawValue })
    guard status >= 0, let made else { throw TLSError(gnutls: status) }
    handle = made
    self.credentials = credentials
    self.descriptor = descriptor
    self.buffers = buffers
    gnutls_credentials_set(
      handle, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.handle))
    gnutls_priority_set(handle, credentials.priority.cache)
    attach()
    guardChain()
  }

  /// A client's end, which blocks and presents no certificate: to get the certificate of a server.
  init(asking descriptor: consuming Descriptor) throws(TLSError) {
    var made: gnutls_session_t?
    let role: gnutls_init_flags_t = GNUTLS_CLIENT
    let status = gnutls_init(&made, role.rawValue)
    guard status >= 0, let made else { throw TLSError(gnutls: status) }
    var store: gnutls_certificate_credentials_t?
    let allocated = gnutls_certificate_allocate_credentials(&store)
    guard allocated >= 0, let store else {
      gnutls_deinit(made)
      throw TLSError(gnutls: allocated)
    }
    handle = made
    ownStore = store
    credentials = nil
    self.descriptor = descriptor
    buffers = TLSBuffers()
    gnutls_credentials_set(handle, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(store))
    gnutls_set_default_priority(handle)
    gnutls_transport_set_int2(handle, self.descriptor.number, self.descriptor.number)
    guardChain()
  }

  private func attach() {
    gnutls_transport_set_ptr(handle, Unmanaged.passUnretained(self).toOpaque())
    gnutls_transport_set_push_function(handle) { pointer, bytes, count in
      guard let pointer, let bytes else { return -1 }
      return Unmanaged<TLSSession>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.push(bytes, count)
      }
    }
    gnutls_transport_set_pull_function(handle) { pointer, bytes, count in
      guard let pointer, let bytes else { return -1 }
      return Unmanaged<TLSSession>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.pull(bytes, count)
      }
    }
  }

  deinit {
    sendCloseNotify()
    gnutls_deinit(handle)
    if let ownStore { gnutls_certificate_free_credentials(ownStore) }
    records.plain.clear(buffers)
    input.clear(buffers)
    output.clear(buffers)
  }

  /// Sends close_notify and closes the sending side of the socket. Records of the peer can still be read.
  func closeSending() {
    sendCloseNotify()
    state.closeSending()
    shutdown(number, Int32(SHUT_WR))
  }

  private func sendCloseNotify() {
    guard state.canSend else { return }
    records.writing?.tell(handle, reading: false)
    gnutls_bye(handle, GNUTLS_SHUT_WR)
    _ = flush()
  }

  // MARK: Between GnuTLS and the socket

  /// Called by GnuTLS to send ciphertext. Keeps it until there is enough for a system call.
  private func push(_ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    var buffer = output.open(buffers)
    if output.room < count {
      output.compact()
      if output.room < count {
        guard flush() == .moved(0) else {
          gnutls_transport_set_errno(handle, EAGAIN)
          return -1
        }
        buffer = output.open(buffers)
      }
    }
    let fits = min(count, output.room)
    (buffer + output.tail).copyMemory(from: bytes, byteCount: fits)
    output.tail += fits
    return fits
  }

  /// Called by GnuTLS to receive ciphertext. Returns what the last system call received.
  private func pull(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    if input.count == 0, records.pullsLeft == nil { fill() }
    guard input.count > 0, let buffer = input.buffer else {
      if source.state == .atEnd, records.pullsLeft == nil { return 0 }
      gnutls_transport_set_errno(handle, source.failure ?? EAGAIN)
      return -1
    }
    let here = min(count, input.count, records.pullsLeft ?? .max)
    guard here > 0 else {
      gnutls_transport_set_errno(handle, EAGAIN)
      return -1
    }
    if state.isHandshaking, !handshakeState.spend(bytes: here) {
      gnutls_transport_set_errno(handle, EMSGSIZE)
      return -1
    }
    if let left = records.pullsLeft { records.pullsLeft = left - here }
    bytes.copyMemory(from: buffer + input.head, byteCount: here)
    input.head += here
    return here
  }

  /// Makes one read, after the bytes that are already here.
  func fill() {
    guard source.state == .readable else { return }
    let buffer = input.open(buffers)
    input.compact()
    let room = input.room
    guard room > 0 else { return }
    let count = recv(descriptor.number, buffer + input.tail, room, Int32(MSG_DONTWAIT))
    if count > 0 {
      handshakeState.note(first: buffer + input.tail, count)
      input.tail += count
      source.noteRead(isFull: count == room)
    } else if count == 0 {
      source.stop(.atEnd)
    } else if errno == EAGAIN || errno == EINTR {
      source.stop(.drained)
    } else {
      source.stop(.failed(errno))
    }
  }

  /// Sends the encrypted data. Returns `.moved(0)` when all of it is sent.
  func flush() -> Outcome {
    while output.count > 0, let buffer = output.buffer {
      let count = send(
        descriptor.number, buffer + output.head, output.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
      if count > 0 {
        output.head += count
      } else if errno == EAGAIN {
        return .blocked(.write)
      } else if errno != EINTR {
        return .failed(errno)
      }
    }
    output.head = 0
    output.tail = 0
    output.settle(buffers)
    return .moved(0)
  }

  // MARK: Data

  /// Whether a read would return bytes or an end that the kernel does not announce.
  var holdsBytes: Bool {
    guard state.end == nil else { return true }
    if records.reading != nil { return records.plain.count > 0 || completeRecord != nil }
    return input.count > 0 || gnutls_record_check_pending(handle) > 0
  }

  /// Whether the session owns a buffer.
  var holdsBuffers: Bool {
    input.buffer != nil || output.buffer != nil || records.plain.buffer != nil
  }

  /// Called before the reads of a turn.
  func beginReading() {
    source.beginTurn()
    records.beginTurn()
  }

  /// Called after the reads of a turn.
  func endReading() {
    input.settle(buffers)
    records.plain.settle(buffers)
  }

  /// Decrypts into `room` until that is full or there is no more input.
  func read(into room: UnsafeMutableRawBufferPointer) -> Outcome {
    guard let base = room.baseAddress else { return .moved(0) }
    if let end = state.end { return end }
    if records.reading != nil {
      let outcome = readRecords(into: base, room.count)
      // Otherwise GnuTLS handles the records again, and reads below.
      if records.reading != nil || outcome != .moved(0) { return outcome }
    }
    var total = 0
    while total < room.count {
      let count = gnutls_record_recv(handle, base + total, room.count - total)
      if count > 0 {
        total += count
        continue
      }
      switch Int32(truncatingIfNeeded: count) {
      case GNUTLS_E_AGAIN where input.count > 0: continue
      case GNUTLS_E_INTERRUPTED: continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED:
        guard records.controls.spend() else { return after(total, refuseFlood()) }
      case GNUTLS_E_AGAIN: return total > 0 ? .moved(total) : .blocked(.read)
      case let status:
        return after(total, ended(status))
      }
    }
    return .moved(total)
  }

  /// Returns the bytes received before an end first; the next read reports the end.
  func after(_ total: Int, _ end: Outcome) -> Outcome { total > 0 ? .moved(total) : end }

  /// Ends the session in both directions. Returns what `read` and `write` report.
  func fail(_ reason: Message) -> Outcome {
    state = .failed(EPROTO, reason)
    return .failed(EPROTO)
  }

  /// The peer has sent more alerts, new keys and tickets than the budget for them allows.
  func refuseFlood() -> Outcome {
    fail(Message(.recordFlood, [ControlBudget.most]))
  }

  /// GnuTLS cannot read any more, for this reason.
  func ended(_ status: Int32) -> Outcome {
    switch status {
    // libvirt's programs close without close_notify. Packets have lengths, so a truncation is detected.
    case 0, GNUTLS_E_PREMATURE_TERMINATION:
      state.closeReceiving()
      return .end
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
      return fail(Message(.peerSentAlert, [alert]))
    // Only TLS 1.2 has renegotiation; libvirt's clients never use it.
    case GNUTLS_E_REHANDSHAKE, GNUTLS_E_UNEXPECTED_PACKET:
      gnutls_alert_send(handle, GNUTLS_AL_FATAL, GNUTLS_A_NO_RENEGOTIATION)
      _ = flush()
      return fail(Message(.renegotiationRequested))
    default:
      guard let number = source.failure else { return fail(TLSError(gnutls: status).message) }
      state = .failed(number, nil)
      return .failed(number)
    }
  }

  /// Encrypts from the front of the runs, as long as the kernel accepts the data encrypted before. Each packet begins a
  /// new record, and one system call sends many records.
  ///
  /// Encrypted bytes count as sent. Those that the kernel does not accept stay in `output`.
  func write(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    switch flush() {
    case .moved: break
    case let outcome: return outcome
    }
    let mostContent = gnutls_record_get_max_size(handle)
    var moved = 0
    runs: for run in runs {
      guard var place = run.base else { continue }
      var left = run.count
      while left > 0 {
        // With room for two records: a change of keys precedes the data.
        if output.buffer != nil, output.room < 2 * TLSBuffers.record {
          switch flush() {
          case .moved: break
          case .blocked: break runs
          case let outcome: return outcome
          }
        }
        let size = edges.pass(place, left, limit: mostContent)
        let count = encrypt(place, size)
        guard count == size else {
          let status = count < 0 ? Int32(truncatingIfNeeded: count) : GNUTLS_E_ENCRYPTION_FAILED
          return fail(TLSError(gnutls: status).message)
        }
        place += size
        left -= size
        moved += size
      }
    }
    if case .failed(let number) = flush() { return .failed(number) }
    return .moved(moved)
  }
}
