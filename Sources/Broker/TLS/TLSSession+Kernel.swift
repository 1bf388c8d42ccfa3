// A session whose records the kernel encrypts and decrypts, after GnuTLS has made the handshake.
import CGnuTLS
import Glibc
import Streams

/// The kernel does records of application data. What else there is in a session remains GnuTLS's, which keeps
/// the secrets that new keys are made of, and is led to believe that it still has the socket: a record of
/// another kind that the kernel has decrypted is encrypted once more for GnuTLS to read (so that there is one
/// way of dealing with alerts and new keys, `heed`), and what GnuTLS itself would send is dropped and told
/// to the kernel instead.
extension TLSSession {
  private static let alertKind: UInt8 = 21
  private static let handshakeKind: UInt8 = 22
  /// Bytes of a control message with one byte in it.
  private static let controlBytes = 24
  /// Records that are no data, dealt with in one turn.
  private static let mostControls = 8

  /// Hands over what the kernel takes. To be called after `takeOverRecords`, with nothing under way.
  func handOver(to kernel: KernelTLS) {
    guard reading != nil, writing != nil, output.count == 0,
      kernel.takes(gnutls_protocol_get_version(handle)),
      // A peer may have asked for shorter records than the kernel makes.
      gnutls_record_get_max_size(handle) >= 16_384,
      kernel.attach(to: number)
    else { return }
    self.kernel = kernel
    guard install(.sending) else {
      self.kernel = nil
      return
    }
    writing = nil
    handOverReading()
  }

  /// The kernel begins with a record it has not given away yet: only when nothing of one waits here.
  func handOverReading() {
    guard kernel != nil, !readsInKernel, let keys = reading, input.count == 0, plain.count == 0,
      isUp, ending == nil, !isAtEnd, socketError == 0
    else { return }
    keys.tell(handle, reading: true)
    guard install(.receiving) else {
      isKeptFromKernel = true
      return
    }
    reading = nil
  }

  /// Gives the kernel the keys of a direction as GnuTLS has them now.
  private func install(_ direction: KernelTLS.Direction) -> Bool {
    guard let kernel, let keys = KernelKeys(of: handle, direction),
      kernel.install(keys, direction, on: number)
    else { return false }
    switch direction {
    case .sending:
      writesInKernel = true
      sentRecords = 0
    case .receiving: readsInKernel = true
    }
    return true
  }

  // MARK: Receiving

  /// Decrypted bytes straight from the kernel.
  func readInKernel(_ rooms: UnsafeBufferPointer<Run>) -> Outcome {
    for _ in 0..<TLSSession.mostControls {
      let (count, kind, isWhole) = receive(rooms)
      switch kind {
      case nil where count > 0: return .moved(count)
      case nil where count == 0: return .end
      case TLSRecordKeys.data where count > 0: return .moved(count)
      case _ where count < 0: return failedReading(errno)
      // A record with nothing in it.
      case TLSRecordKeys.data: continue
      case let kind?:
        if let end = control(kind, rooms, count, isWhole: isWhole) { return end }
      case nil: return .failed(EPROTO)
      }
    }
    // The kernel goes on saying that there is more.
    return .blocked(.read)
  }

  /// One call: bytes of records of one kind, which kind the kernel said that is, and whether such a record
  /// ends with them.
  private func receive(
    _ rooms: UnsafeBufferPointer<Run>
  ) -> (count: Int, kind: UInt8?, isWhole: Bool) {
    withUnsafeTemporaryAllocation(byteCount: TLSSession.controlBytes, alignment: 8) { control in
      var message = msghdr()
      message.msg_iov = UnsafeMutableRawPointer(mutating: rooms.baseAddress)?
        .assumingMemoryBound(to: iovec.self)
      message.msg_iovlen = rooms.count
      message.msg_control = control.baseAddress
      message.msg_controllen = control.count
      let count = recvmsg(number, &message, Int32(MSG_DONTWAIT))
      let isWhole = message.msg_flags & Int32(MSG_EOR) != 0
      let size = MemoryLayout<cmsghdr>.size
      guard count >= 0, message.msg_controllen > size else { return (count, nil, isWhole) }
      let header = control.loadUnaligned(as: cmsghdr.self)
      guard header.cmsg_level == KernelTLS.level, header.cmsg_type == KernelTLS.tellsKind,
        header.cmsg_len > size
      else { return (count, nil, isWhole) }
      return (count, control.loadUnaligned(fromByteOffset: size, as: UInt8.self), isWhole)
    }
  }

  private func failedReading(_ number: Int32) -> Outcome {
    switch number {
    case EAGAIN, EINTR: return .blocked(.read)
    case EBADMSG: trouble = "TLS: a record was changed on its way"
    case EMSGSIZE, EINVAL: trouble = "TLS: what came is no record"
    default:
      isUp = false
      return .failed(number)
    }
    isUp = false
    return .failed(EPROTO)
  }

  /// The rest of a record that is no application data, and what it means. How the session ended, if it did.
  private func control(
    _ kind: UInt8, _ rooms: UnsafeBufferPointer<Run>, _ count: Int, isWhole: Bool
  ) -> Outcome? {
    let content = buffers.take()
    defer { buffers.give(content) }
    var have = 0
    for room in rooms where have < count {
      guard let base = room.base else { continue }
      let here = min(room.count, count - have)
      (content + have).copyMemory(from: base, byteCount: here)
      have += here
    }
    // The rooms may have been smaller than the record, which the kernel has all of.
    var isWhole = isWhole
    while !isWhole, have < 16_384 {
      var room = Run(base: content + have, count: 16_384 - have)
      let more = withUnsafePointer(to: &room) {
        receive(UnsafeBufferPointer(start: $0, count: 1))
      }
      guard more.count > 0 else { break }
      guard more.kind == kind else {
        trouble = "TLS: the kernel mixed up records"
        isUp = false
        return .failed(EPROTO)
      }
      have += more.count
      isWhole = more.isWhole
    }
    return heed(kind, content, have)
  }

  /// Has GnuTLS read a record of the kernel's, and gives the kernel the keys there are after that. How the
  /// session ended, if it did.
  func heed(_ kind: UInt8, _ content: UnsafeMutableRawPointer, _ count: Int) -> Outcome? {
    guard count > 0 else { return refuseHollow() }
    guard let keys = TLSRecordKeys(of: handle, reading: true),
      let before = KernelKeys(of: handle, .receiving),
      let size = keys.seal(content, count, as: kind, at: input.open(buffers))
    else { return failedWriting(GNUTLS_E_ENCRYPTION_FAILED) }
    input.head = 0
    input.tail = size
    defer {
      input.head = input.tail
      input.settle(buffers)
    }
    if let end = haveLibraryRead(size) { return end }
    guard keys.isModern, let after = KernelKeys(of: handle, .receiving),
      !after.isSameKey(as: before)
    else { return nil }
    guard !readsInKernel || install(.receiving) else {
      trouble = "TLS: the kernel did not take the client's new keys"
      isUp = false
      return .failed(EPROTO)
    }
    return nil
  }

  // MARK: Sending

  /// Bytes straight to the kernel, which makes records of them.
  func writeInKernel(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    if owesKeys || sentRecords >= mostRecords {
      let changed = changeKeys()
      guard changed == .moved(0) else { return changed }
    }
    let flags = Int32(MSG_DONTWAIT | MSG_NOSIGNAL)
    let count: Int
    if runs.count == 1 {
      count = Glibc.send(number, runs[0].base, runs[0].count, flags)
    } else {
      var message = msghdr()
      message.msg_iov = UnsafeMutableRawPointer(mutating: runs.baseAddress)?
        .assumingMemoryBound(to: iovec.self)
      message.msg_iovlen = runs.count
      count = sendmsg(number, &message, flags)
    }
    guard count >= 0 else { return failedSending() }
    // One call's bytes are put into full records, and the last one sends what is left.
    sentRecords += UInt64(count >> 14) + 1
    return .moved(count)
  }

  private func failedSending() -> Outcome {
    switch errno {
    case EAGAIN, EINTR: return .blocked(.write)
    case let number:
      isUp = false
      return .failed(number)
    }
  }

  /// New keys for what is sent, said with the old ones: `.moved(0)` when that is done.
  private func changeKeys() -> Outcome {
    guard gnutls_protocol_get_version(handle) == GNUTLS_TLS1_3 else {
      // TLS 1.2 has no way of doing it.
      owesKeys = false
      sentRecords = 0
      return .moved(0)
    }
    // A KeyUpdate that asks for no answer (RFC 8446, 4.6.3).
    guard send([24, 0, 0, 1, 0], as: TLSSession.handshakeKind) else { return failedSending() }
    owesKeys = false
    let status = gnutls_session_key_update(handle, 0)
    guard status >= 0 else { return failedWriting(status) }
    guard install(.sending) else {
      trouble = "TLS: the kernel did not take new keys"
      isUp = false
      return .failed(EPROTO)
    }
    return .moved(0)
  }

  func sendAlert(_ level: gnutls_alert_level_t, _ alert: gnutls_alert_description_t) {
    guard writesInKernel else {
      gnutls_alert_send(handle, level, alert)
      return
    }
    _ = send(
      [UInt8(truncatingIfNeeded: level.rawValue), UInt8(truncatingIfNeeded: alert.rawValue)],
      as: TLSSession.alertKind)
  }

  /// A record that is no application data. False: not sent, and errno says why.
  private func send(_ content: [UInt8], as kind: UInt8) -> Bool {
    var content = content
    return content.withUnsafeMutableBytes { bytes in
      withUnsafeTemporaryAllocation(byteCount: TLSSession.controlBytes, alignment: 8) { control in
        control.initializeMemory(as: UInt8.self, repeating: 0)
        let size = MemoryLayout<cmsghdr>.size
        var header = cmsghdr()
        header.cmsg_len = size + 1
        header.cmsg_level = KernelTLS.level
        header.cmsg_type = KernelTLS.setsKind
        control.storeBytes(of: header, as: cmsghdr.self)
        control.storeBytes(of: kind, toByteOffset: size, as: UInt8.self)
        var vector = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
        return withUnsafeMutablePointer(to: &vector) { vector in
          var message = msghdr()
          message.msg_iov = vector
          message.msg_iovlen = 1
          message.msg_control = control.baseAddress
          message.msg_controllen = control.count
          return sendmsg(number, &message, Int32(MSG_DONTWAIT | MSG_NOSIGNAL)) == bytes.count
        }
      }
    }
  }
}
