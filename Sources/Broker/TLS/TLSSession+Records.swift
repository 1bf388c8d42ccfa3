// A session encrypts and decrypts records itself, after GnuTLS has done the handshake.
import CGnuTLS
import Glibc
import Streams

extension TLSSession {
  /// Takes the keys from GnuTLS, if `TLSRecordKeys` supports the cipher. The caller calls it between two records, when
  /// the handshake is done and all its data is sent.
  func takeOverRecords() {
    guard gnutls_record_check_pending(handle) == 0,
      let reading = TLSRecordKeys(of: handle, reading: true),
      let writing = TLSRecordKeys(of: handle, reading: false)
    else { return }
    records.reading = reading
    records.writing = writing
  }

  /// The length of the record at the front, if all of it is here or if its length is invalid.
  var completeRecord: Int? {
    guard input.count >= TLSRecordKeys.header, let buffer = input.buffer else { return nil }
    let record = buffer + input.head
    let length = Int(
      UInt16(bigEndian: record.loadUnaligned(fromByteOffset: 3, as: UInt16.self)))
    return length > TLSBuffers.record - TLSRecordKeys.header
      || input.count >= TLSRecordKeys.header + length ? length : nil
  }

  /// Decrypts into the room until the room is full or the input has no more records.
  func readRecords(into base: UnsafeMutableRawPointer, _ count: Int) -> Outcome {
    var total = 0
    var isCut = false
    while total < count {
      if records.plain.count > 0, let buffer = records.plain.buffer {
        let here = min(records.plain.count, count - total)
        (base + total).copyMemory(from: buffer + records.plain.head, byteCount: here)
        records.plain.head += here
        total += here
        continue
      }
      guard let length = completeRecord else {
        let before = input.count
        fill()
        if input.count == before { break }
        continue
      }
      guard let keys = records.reading, let buffer = input.buffer else { break }
      guard records.spend() else {
        // `holdsBytes` makes the loop call again in its next turn.
        isCut = true
        break
      }
      let record = buffer + input.head
      guard let room = keys.room(forLength: length),
        record.load(as: UInt8.self) == TLSRecordKeys.data
      else {
        if let end = giveToLibrary(length) { return after(total, end) }
        if records.reading == nil { return .moved(total) }
        continue
      }
      let isDirect = count - total >= room
      let content = isDirect ? base + total : records.plain.open(buffers)
      let opened = keys.open(record, length: length, into: content)
      switch opened {
      case .data(let bytes):
        guard !records.message.isInside else { return after(total, refuseInterleaved()) }
        input.head += TLSRecordKeys.header + length
        if isDirect {
          total += bytes
        } else {
          records.plain.head = 0
          records.plain.tail = bytes
        }
      case .other(let kind, let bytes):
        if kind == TLSRecordKeys.handshake {
          records.message.follow(UnsafeRawBufferPointer(start: content, count: bytes))
        }
        if let end = giveToLibrary(length) { return after(total, end) }
        if records.reading == nil { return .moved(total) }
      case .hollow: return after(total, refuseHollow())
      case .forged:
        return after(total, fail(Message(.recordForged)))
      }
    }
    if total > 0 { return .moved(total) }
    if isCut { return .blocked(.read) }
    return switch source.state {
    case .failed(let number): .failed(number)
    case .atEnd: .end
    case .readable, .drained: .blocked(.read)
    }
  }

  /// Gives GnuTLS the record at the front, which is not application data, and takes the keys that GnuTLS has
  /// afterwards. Returns the session's end, if it ended.
  private func giveToLibrary(_ length: Int) -> Outcome? {
    guard TLSRecordKeys.header + length <= input.count, let buffer = input.buffer else {
      return fail(Message(.recordTooLong))
    }
    guard records.controls.spend() else { return refuseFlood() }
    // In TLS 1.2 the only possible message is one that starts a new handshake.
    let isRenegotiation =
      records.reading?.isModern == false
      && (buffer + input.head).load(as: UInt8.self) == TLSRecordKeys.handshake
    records.reading?.tell(handle, reading: true)
    records.writing?.tell(handle, reading: false)
    let end = haveLibraryRead(TLSRecordKeys.header + length)
    records.reading = TLSRecordKeys(of: handle, reading: true)
    records.writing = TLSRecordKeys(of: handle, reading: false)
    // The whole message would end the session, so its first part does.
    return end ?? (isRenegotiation ? ended(GNUTLS_E_REHANDSHAKE) : nil)
  }

  /// RFC 8446 (5.4): no handshake message or alert is empty. GnuTLS does not return from such a record after the
  /// beginning of a message (seen with 3.7.9).
  func refuseHollow() -> Outcome {
    refuseUnexpected(Message(.recordEmpty))
  }

  /// RFC 8446 (5.1): the records of one handshake message follow each other.
  private func refuseInterleaved() -> Outcome {
    refuseUnexpected(Message(.recordInterleaved))
  }

  /// Fails with the alert unexpected_message.
  private func refuseUnexpected(_ reason: Message) -> Outcome {
    records.writing?.tell(handle, reading: false)
    gnutls_alert_send(handle, GNUTLS_AL_FATAL, GNUTLS_A_UNEXPECTED_MESSAGE)
    _ = flush()
    return fail(reason)
  }

  /// Makes GnuTLS read the record at the front, of this many bytes, which is not application data. Returns the
  /// session's end, if it ended.
  func haveLibraryRead(_ bytes: Int) -> Outcome? {
    records.pullsLeft = bytes
    let count = withUnsafeTemporaryAllocation(byteCount: 256, alignment: 16) {
      gnutls_record_recv(handle, $0.baseAddress, $0.count)
    }
    records.pullsLeft = nil
    records.owesKeys = true
    switch Int32(truncatingIfNeeded: count) {
    case GNUTLS_E_AGAIN, GNUTLS_E_INTERRUPTED, GNUTLS_E_WARNING_ALERT_RECEIVED: return nil
    case let status where status <= 0: return ended(status)
    default: return ended(GNUTLS_E_UNEXPECTED_PACKET_LENGTH)
    }
  }

  /// Encrypts the bytes as one record, which can hold them all. Returns the number of bytes, or one of GnuTLS's errors.
  /// The output has room for two records.
  func encrypt(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    guard let keys = records.writing else { return gnutls_record_send(handle, bytes, count) }
    let isWornOut = keys.isModern && keys.sequence >= records.mostWithKeys
    guard !records.owesKeys, !isWornOut else {
      records.owesKeys = false
      keys.tell(handle, reading: false)
      if isWornOut { gnutls_session_key_update(handle, 0) }
      defer { records.writing = TLSRecordKeys(of: handle, reading: false) }
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
