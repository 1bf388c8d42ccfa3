// A session that does its own records, after GnuTLS has made the handshake.
import CGnuTLS
import Glibc
import Streams

extension TLSSession {
  /// Takes the records over, where their cipher is one of those that can be. To be called between two
  /// records, when the handshake is done and all that was said in it has left.
  func takeOverRecords() {
    guard gnutls_record_check_pending(handle) == 0,
      let reading = TLSRecordKeys(of: handle, reading: true),
      let writing = TLSRecordKeys(of: handle, reading: false)
    else { return }
    self.reading = reading
    self.writing = writing
  }

  /// The length in the header of the record at the front, if all of it is here, or if it cannot be one.
  var completeRecord: Int? {
    guard input.count >= TLSRecordKeys.header, let buffer = input.buffer else { return nil }
    let record = buffer + input.head
    let length = Int(
      UInt16(bigEndian: record.loadUnaligned(fromByteOffset: 3, as: UInt16.self)))
    return length > TLSBuffers.record - TLSRecordKeys.header
      || input.count >= TLSRecordKeys.header + length ? length : nil
  }

  /// Records that are opened in one turn. A full one takes longer than an empty one, but an empty one costs the
  /// peer 22 bytes: 100,000 of them fit into what one turn may read.
  private static let mostOpened = 1024

  /// Decrypts into the room until that is full or nothing more is there.
  func readRecords(into base: UnsafeMutableRawPointer, _ count: Int) -> Outcome {
    var total = 0
    var isCut = false
    while total < count {
      if plain.count > 0, let buffer = plain.buffer {
        let here = min(plain.count, count - total)
        (base + total).copyMemory(from: buffer + plain.head, byteCount: here)
        plain.head += here
        total += here
        continue
      }
      guard let length = completeRecord else {
        let before = input.count
        fill()
        if input.count == before { break }
        continue
      }
      guard let keys = reading, let buffer = input.buffer else { break }
      openedRecords += 1
      guard openedRecords <= TLSSession.mostOpened else {
        // `holdsBytes` has the loop come back in its next turn.
        isCut = true
        break
      }
      let record = buffer + input.head
      guard let room = keys.room(forLength: length),
        record.load(as: UInt8.self) == TLSRecordKeys.data
      else {
        if let end = giveToLibrary(length) { return after(total, end) }
        if reading == nil { return .moved(total) }
        continue
      }
      let isDirect = count - total >= room
      let content = isDirect ? base + total : plain.open(buffers)
      let opened = keys.open(record, length: length, into: content)
      switch opened {
      case .data(let bytes):
        guard !message.isInside else { return after(total, refuseInterleaved()) }
        input.head += TLSRecordKeys.header + length
        if isDirect {
          total += bytes
        } else {
          plain.head = 0
          plain.tail = bytes
        }
      case .other(let kind, let bytes):
        if kind == TLSRecordKeys.handshake {
          message.follow(UnsafeRawBufferPointer(start: content, count: bytes))
        }
        if let end = giveToLibrary(length) { return after(total, end) }
        if reading == nil { return .moved(total) }
      case .hollow: return after(total, refuseHollow())
      case .forged:
        error = Message(.recordForged)
        isUp = false
        return after(total, .failed(EPROTO))
      }
    }
    if total > 0 { return .moved(total) }
    if isCut { return .blocked(.read) }
    if socketError != 0 { return .failed(socketError) }
    return isAtEnd ? .end : .blocked(.read)
  }

  /// Has GnuTLS deal with the record at the front, which is no application data, and takes the keys it has
  /// after that. How the session ended, if it did.
  private func giveToLibrary(_ length: Int) -> Outcome? {
    guard TLSRecordKeys.header + length <= input.count, let buffer = input.buffer else {
      error = Message(.recordTooLong)
      isUp = false
      return .failed(EPROTO)
    }
    guard controls.spend() else { return refuseFlood() }
    // In TLS 1.2 the only message that can come is one that begins a new handshake.
    let isRenegotiation =
      reading?.isModern == false
      && (buffer + input.head).load(as: UInt8.self) == TLSRecordKeys.handshake
    reading?.tell(handle, reading: true)
    writing?.tell(handle, reading: false)
    let end = haveLibraryRead(TLSRecordKeys.header + length)
    reading = TLSRecordKeys(of: handle, reading: true)
    writing = TLSRecordKeys(of: handle, reading: false)
    // The whole message ends the session, so its first part does.
    return end ?? (isRenegotiation ? ended(GNUTLS_E_REHANDSHAKE) : nil)
  }

  /// What RFC 8446 (5.4) asks for where a record has nothing in it that is no application data. GnuTLS does not
  /// come back from such a record behind the beginning of a message (seen with 3.7.9).
  func refuseHollow() -> Outcome {
    error = Message(.recordEmpty)
    isUp = false
    writing?.tell(handle, reading: false)
    gnutls_alert_send(handle, GNUTLS_AL_FATAL, GNUTLS_A_UNEXPECTED_MESSAGE)
    _ = flush()
    return .failed(EPROTO)
  }

  /// RFC 8446 (5.1): the records of one handshake message follow each other.
  private func refuseInterleaved() -> Outcome {
    error = Message(.recordInterleaved)
    isUp = false
    writing?.tell(handle, reading: false)
    gnutls_alert_send(handle, GNUTLS_AL_FATAL, GNUTLS_A_UNEXPECTED_MESSAGE)
    _ = flush()
    return .failed(EPROTO)
  }

  /// Has GnuTLS read the record at the front, of so many bytes, which is no application data. How the session
  /// ended, if it did.
  func haveLibraryRead(_ bytes: Int) -> Outcome? {
    pullsLeft = bytes
    let count = withUnsafeTemporaryAllocation(byteCount: 256, alignment: 16) {
      gnutls_record_recv(handle, $0.baseAddress, $0.count)
    }
    pullsLeft = nil
    owesKeys = true
    switch Int32(truncatingIfNeeded: count) {
    case GNUTLS_E_AGAIN, GNUTLS_E_INTERRUPTED, GNUTLS_E_WARNING_ALERT_RECEIVED: return nil
    case let status where status <= 0: return ended(status)
    default: return ended(GNUTLS_E_UNEXPECTED_PACKET_LENGTH)
    }
  }

  /// Encrypts the bytes as one record, which can hold them all; how many that were, or one of GnuTLS's errors. There
  /// is room for two records.
  func encrypt(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    guard let keys = writing else { return gnutls_record_send(handle, bytes, count) }
    let isWornOut = keys.isModern && keys.sequence >= mostRecords
    guard !owesKeys, !isWornOut else {
      owesKeys = false
      keys.tell(handle, reading: false)
      if isWornOut { gnutls_session_key_update(handle, 0) }
      defer { writing = TLSRecordKeys(of: handle, reading: false) }
      return gnutls_record_send(handle, bytes, count)
    }
    let buffer = output.open(buffers)
    guard let size = keys.seal(bytes, count, at: buffer + output.tail) else {
      return Int(GNUTLS_E_ENCRYPTION_FAILED)
    }
    output.tail += size
    return count
  }
}
