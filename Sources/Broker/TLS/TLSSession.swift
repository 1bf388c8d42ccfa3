// A TLS session over a socket: records in and out of buffers of the broker's own, so that one system call
// moves many of them.
import CGnuTLS
import Glibc
import Streams

/// Spare buffers for ciphertext. A session has one only while something of a record waits in it.
final class TLSBuffers {
  /// A record at its largest: header, content, and what ciphers add.
  static let record = 5 + 16_384 + 256
  /// Eight records: more in one call no longer changed the throughput.
  static let capacity = 8 * record
  private static let most = 8
  private var spare: [UnsafeMutableRawPointer] = []
  /// Where several threads take buffers; nil: one does.
  private let lock: UnsafeMutablePointer<pthread_mutex_t>?

  init(isShared: Bool = false) {
    lock = isShared ? .allocate(capacity: 1) : nil
    if let lock { pthread_mutex_init(lock, nil) }
  }

  deinit {
    for buffer in spare { buffer.deallocate() }
    if let lock {
      pthread_mutex_destroy(lock)
      lock.deallocate()
    }
  }

  func take() -> UnsafeMutableRawPointer {
    if let lock { pthread_mutex_lock(lock) }
    defer { if let lock { pthread_mutex_unlock(lock) } }
    return spare.popLast() ?? .allocate(byteCount: TLSBuffers.capacity, alignment: 64)
  }

  func give(_ buffer: UnsafeMutableRawPointer) {
    if let lock { pthread_mutex_lock(lock) }
    defer { if let lock { pthread_mutex_unlock(lock) } }
    if spare.count < TLSBuffers.most { spare.append(buffer) } else { buffer.deallocate() }
  }
}

/// Ciphertext on its way: `head ..< tail` of a buffer that is there only while it is needed.
struct TLSWaiting {
  var buffer: UnsafeMutableRawPointer?
  var head = 0
  var tail = 0

  var count: Int { tail - head }
  var room: Int { TLSBuffers.capacity - tail }

  /// The buffer, taken if there is none.
  mutating func open(_ buffers: TLSBuffers) -> UnsafeMutableRawPointer {
    if let buffer { return buffer }
    let taken = buffers.take()
    buffer = taken
    head = 0
    tail = 0
    return taken
  }

  /// Returns the buffer if nothing waits in it.
  mutating func settle(_ buffers: TLSBuffers) {
    guard head == tail, let buffer else { return }
    buffers.give(buffer)
    self.buffer = nil
  }

  /// Moves what waits to the front of the buffer, so that there is room behind it.
  mutating func compact() {
    guard head > 0, let buffer else { return }
    buffer.copyMemory(from: buffer + head, byteCount: count)
    tail -= head
    head = 0
  }
}

/// One end of a TLS connection. Owns the socket, and keeps the credentials it was made with.
final class TLSSession {
  /// How a step of the handshake went.
  enum Step: Equatable {
    case done
    case blocked(Interest)
    case failed(Message)
  }

  /// Reads of the socket in one turn: more than any room needs, for records may have nothing in them.
  private static let mostFills = 16
  /// GnuTLS bounds each message of a handshake, but not the records without effect between them.
  private static let mostHandshakeBytes = 256 << 10

  let handle: gnutls_session_t
  let credentials: TLSCredentials?
  /// Of a session that asks: nothing is kept in them.
  private var ownStore: gnutls_certificate_credentials_t?
  private let descriptor: Descriptor
  /// A buffer of one pool may be given to another: all are alike.
  var buffers: TLSBuffers
  var input = TLSWaiting()
  var output = TLSWaiting()
  /// Decrypted bytes for which there was no room; only where records are the session's own.
  var plain = TLSWaiting()
  /// The keys of each direction, where records are the session's own; nil: GnuTLS does them.
  var reading: TLSRecordKeys?
  var writing: TLSRecordKeys?
  /// Records that are sent with the same keys.
  var mostRecords = TLSRecordKeys.mostRecords
  /// GnuTLS may have to put new keys in front of what is sent next.
  var owesKeys = false
  /// Bytes GnuTLS may still take, where it is given one record and no more.
  var pullsLeft: Int?
  /// The kernel had less than was asked for, or has been asked often enough: not again in this turn.
  private(set) var isDrained = false
  private var fills = 0
  /// Records opened in this turn.
  var openedRecords = 0
  var alerts = 0
  /// Records after the handshake that are no application data.
  var controls = ControlBudget()
  /// Where the peer is in a handshake message after the handshake; only where records are the session's own.
  var message = MessageTracker()
  private(set) var isAtEnd = false
  private(set) var socketError: Int32 = 0
  /// Where the packets that are sent begin.
  private var edges = PacketEdges()
  /// The handshake is done and nothing has failed: there is somebody to say goodbye to.
  var isUp = false
  /// Nothing more is sent.
  private var hasClosedSending = false
  /// Why the session failed.
  var error: Message?
  /// Why the peer was refused before the handshake had ended.
  var peerError: Message?
  private var handshakeLeft = TLSSession.mostHandshakeBytes
  /// How the session ended, where there was something to give before.
  private(set) var ending: Outcome?
  /// The first bytes that came, to recognise who is here by mistake.
  private(set) var firstBytes: UInt32?

  var number: Int32 { descriptor.number }

  /// The broker's end of an accepted connection.
  convenience init(
    serving descriptor: consuming Descriptor, with credentials: TLSCredentials, buffers: TLSBuffers
  ) throws(TLSError) {
    try self.init(GNUTLS_SERVER, descriptor, credentials, buffers)
    // Asked for but not demanded: a client without one is told by the broker, which knows more.
    gnutls_certificate_server_set_request(handle, GNUTLS_CERT_REQUEST)
  }

  /// The broker's end of a connection it has made.
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

  /// A client's end, which blocks and shows no certificate: to see what somebody serves.
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
    input.head = input.tail
    output.head = output.tail
    plain.head = plain.tail
    plain.settle(buffers)
    input.settle(buffers)
    output.settle(buffers)
  }

  /// Sends close_notify and closes the sending side of the socket. Records of the peer can still be read.
  func closeSending() {
    guard !hasClosedSending else { return }
    sendCloseNotify()
    hasClosedSending = true
    shutdown(number, Int32(SHUT_WR))
  }

  private func sendCloseNotify() {
    guard isUp, !hasClosedSending else { return }
    writing?.tell(handle, reading: false)
    gnutls_bye(handle, GNUTLS_SHUT_WR)
    _ = flush()
  }

  // MARK: Between GnuTLS and the socket

  /// GnuTLS has ciphertext to send: it is kept until there is enough for a system call.
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

  /// GnuTLS wants ciphertext: it gets what the last system call brought.
  private func pull(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    if input.count == 0, pullsLeft == nil { fill() }
    guard input.count > 0, let buffer = input.buffer else {
      if isAtEnd, pullsLeft == nil { return 0 }
      gnutls_transport_set_errno(handle, socketError == 0 ? EAGAIN : socketError)
      return -1
    }
    let here = min(count, input.count, pullsLeft ?? .max)
    guard here > 0 else {
      gnutls_transport_set_errno(handle, EAGAIN)
      return -1
    }
    if !isUp {
      handshakeLeft -= here
      guard handshakeLeft >= 0 else {
        peerError = Message(.peerSentLongHandshake, [TLSSession.mostHandshakeBytes >> 10])
        gnutls_transport_set_errno(handle, EMSGSIZE)
        return -1
      }
    }
    if let left = pullsLeft { pullsLeft = left - here }
    bytes.copyMemory(from: buffer + input.head, byteCount: here)
    input.head += here
    return here
  }

  /// One read, behind what waits already.
  func fill() {
    guard !isDrained, !isAtEnd, socketError == 0 else { return }
    let buffer = input.open(buffers)
    input.compact()
    let room = input.room
    guard room > 0 else { return }
    let count = recv(descriptor.number, buffer + input.tail, room, Int32(MSG_DONTWAIT))
    if count > 0 {
      if firstBytes == nil {
        firstBytes =
          count >= 4
          ? UInt32(bigEndian: (buffer + input.tail).loadUnaligned(as: UInt32.self)) : 0
      }
      input.tail += count
      fills += 1
      isDrained = count < room || fills >= TLSSession.mostFills
    } else if count == 0 {
      isAtEnd = true
    } else if errno == EAGAIN || errno == EINTR {
      isDrained = true
    } else {
      socketError = errno
    }
  }

  /// Sends what is encrypted: `.moved(0)` when all of it has left.
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

  /// Decrypted or complete records wait here, which the kernel announces no more.
  var holdsBytes: Bool {
    guard ending == nil else { return true }
    guard error == nil else { return false }
    if reading != nil { return plain.count > 0 || completeRecord != nil }
    return input.count > 0 || gnutls_record_check_pending(handle) > 0
  }

  /// Something of a record waits in a buffer, in either direction.
  var holdsBuffers: Bool {
    input.buffer != nil || output.buffer != nil || plain.buffer != nil
  }

  /// A turn's reading begins: the kernel may have more than the last time.
  func beginReading() {
    isDrained = false
    fills = 0
    openedRecords = 0
  }

  /// A turn's reading has ended.
  func endReading() {
    input.settle(buffers)
    plain.settle(buffers)
  }

  /// Decrypts into `room` until that is full or nothing more is there.
  func read(into room: UnsafeMutableRawBufferPointer) -> Outcome {
    guard let base = room.baseAddress else { return .moved(0) }
    if let ending { return ending }
    if reading != nil {
      let outcome = readRecords(into: base, room.count)
      // Otherwise GnuTLS has its records back, and goes on below.
      if reading != nil || outcome != .moved(0) { return outcome }
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
        guard controls.spend() else { return after(total, refuseFlood()) }
      case GNUTLS_E_AGAIN: return total > 0 ? .moved(total) : .blocked(.read)
      case let status:
        return after(total, ended(status))
      }
    }
    return .moved(total)
  }

  /// What came before an end is told first.
  func after(_ total: Int, _ end: Outcome) -> Outcome {
    guard total > 0 else { return end }
    ending = end
    return .moved(total)
  }

  /// The peer has sent more alerts, new keys and tickets than the budget for them allows.
  func refuseFlood() -> Outcome {
    error = Message(.recordFlood, [ControlBudget.most])
    isUp = false
    return .failed(EPROTO)
  }

  func ended(_ status: Int32) -> Outcome {
    switch status {
    // A peer that closes without a word is libvirt's usual way; packets have lengths, so nothing is
    // cut off unnoticed.
    case 0, GNUTLS_E_PREMATURE_TERMINATION: return .end
    case GNUTLS_E_FATAL_ALERT_RECEIVED: error = Message(.peerSentAlert, [alert])
    // Only TLS 1.2 knows it; libvirt's clients never do it.
    case GNUTLS_E_REHANDSHAKE, GNUTLS_E_UNEXPECTED_PACKET:
      gnutls_alert_send(handle, GNUTLS_AL_FATAL, GNUTLS_A_NO_RENEGOTIATION)
      _ = flush()
      error = Message(.renegotiationRequested)
    case _ where socketError != 0:
      isUp = false
      return .failed(socketError)
    default: error = TLSError(gnutls: status).message
    }
    isUp = false
    return .failed(EPROTO)
  }

  /// Encrypts from the front of the runs, as long as the kernel takes what was encrypted before. Each packet begins
  /// a record of its own, and many records leave in one system call.
  ///
  /// What is encrypted has been taken. What the kernel does not take of it waits in `output`.
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
        // With room for two records: a change of keys goes in front of the data.
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
          return failedWriting(
            count < 0 ? Int32(truncatingIfNeeded: count) : GNUTLS_E_ENCRYPTION_FAILED)
        }
        place += size
        left -= size
        moved += size
      }
    }
    if case .failed(let number) = flush() { return .failed(number) }
    return .moved(moved)
  }

  func failedWriting(_ status: Int32) -> Outcome {
    error = TLSError(gnutls: status).message
    isUp = false
    return .failed(EPROTO)
  }
}
