// Records of application data, encrypted and decrypted in place.
import CGnuTLS
import Glibc

/// The keys of one direction of a session, taken over from GnuTLS after its handshake.
///
/// GnuTLS itself copies a record through several buffers, some of which it allocates. With the ciphers of TLS 1.3 and
/// their equivalents in TLS 1.2 a record needs little work, so the session does it with GnuTLS's ciphers: it decrypts
/// straight into the relay's segments, and encrypts in the buffer that is sent. GnuTLS still handles everything that is
/// not application data (alerts, new keys, handshakes). The session sets GnuTLS's record number before that, and takes
/// the keys again afterwards.
final class TLSRecordKeys {
  static let header = 5
  static let handshake: UInt8 = 22
  static let data: UInt8 = 23
  private static let tag = 16
  /// RFC 8446, 5.5: AES-GCM is safe for about 2^24.5 records. A change of keys costs almost nothing.
  static let mostRecords: UInt64 = 1 << 23

  private let cipher: gnutls_aead_cipher_hd_t
  let isModern: Bool
  /// TLS 1.2 with GCM sends eight bytes of each nonce with the record.
  private let sendsNonce: Bool
  private let base: UInt64
  /// 12 bytes of nonce, and from offset 16 on 13 bytes of additional data.
  private let scratch: UnsafeMutableRawPointer
  private var auth: UnsafeMutableRawPointer { scratch + 16 }
  /// The number of the next record.
  private(set) var sequence: UInt64

  /// nil: the session's cipher cannot be taken over.
  convenience init?(of session: gnutls_session_t, reading: Bool) {
    let version = gnutls_protocol_get_version(session)
    guard version == GNUTLS_TLS1_3 || version == GNUTLS_TLS1_2 else { return nil }
    var iv = gnutls_datum_t()
    var key = gnutls_datum_t()
    var number: UInt64 = 0
    let status = withUnsafeMutableBytes(of: &number) {
      gnutls_record_get_state(
        session, reading ? 1 : 0, nil, &iv, &key, $0.assumingMemoryBound(to: UInt8.self).baseAddress
      )
    }
    guard status >= 0 else { return nil }
    self.init(
      cipher: gnutls_cipher_get(session).rawValue, isModern: version == GNUTLS_TLS1_3,
      key: UnsafeMutableBufferPointer(start: key.data, count: Int(key.size)),
      iv: UnsafeBufferPointer(start: iv.data, count: Int(iv.size)),
      sequence: UInt64(bigEndian: number))
  }

  /// nil: the cipher cannot be taken over, or the key or the IV has not its size.
  /// - Parameters:
  ///   - cipher: a `gnutls_cipher_algorithm_t`; a test cannot see a signature with a C enumeration in it.
  ///   - isModern: the records are those of TLS 1.3, not of TLS 1.2.
  ///   - iv: 12 bytes; 4 bytes if each TLS 1.2 record carries the rest of its nonce.
  ///   - sequence: the number of the next record.
  init?(
    cipher number: UInt32, isModern: Bool, key: UnsafeMutableBufferPointer<UInt8>,
    iv: UnsafeBufferPointer<UInt8>, sequence: UInt64
  ) {
    let kind = gnutls_cipher_algorithm_t(rawValue: number)
    let isGCM = kind == GNUTLS_CIPHER_AES_128_GCM || kind == GNUTLS_CIPHER_AES_256_GCM
    let isCCM = kind == GNUTLS_CIPHER_AES_128_CCM || kind == GNUTLS_CIPHER_AES_256_CCM
    guard isGCM || kind == GNUTLS_CIPHER_CHACHA20_POLY1305 || isModern && isCCM else { return nil }
    self.isModern = isModern
    sendsNonce = isGCM && !isModern
    guard let bytes = iv.baseAddress, iv.count == (sendsNonce ? 4 : 12) else { return nil }
    self.sequence = sequence
    var datum = gnutls_datum_t(data: key.baseAddress, size: UInt32(key.count))
    var made: gnutls_aead_cipher_hd_t?
    guard gnutls_aead_cipher_init(&made, kind, &datum) >= 0, let made else { return nil }
    cipher = made
    scratch = .allocate(byteCount: 64, alignment: 16)
    scratch.initializeMemory(as: UInt8.self, repeating: 0, count: 64)
    scratch.copyMemory(from: bytes, byteCount: 4)
    base =
      sendsNonce
      ? 0 : UInt64(bigEndian: UnsafeRawPointer(bytes + 4).loadUnaligned(as: UInt64.self))
  }

  deinit {
    gnutls_aead_cipher_deinit(cipher)
    scratch.deallocate()
  }

  /// Sets GnuTLS's number of the next record.
  func tell(_ session: gnutls_session_t, reading: Bool) {
    var number = sequence.bigEndian
    _ = withUnsafeBytes(of: &number) {
      gnutls_record_set_state(
        session, reading ? 1 : 0, $0.assumingMemoryBound(to: UInt8.self).baseAddress)
    }
  }

  /// A record's bytes in addition to its header and content.
  private var overhead: Int { TLSRecordKeys.tag + (sendsNonce ? 8 : 0) + (isModern ? 1 : 0) }

  /// Room for the content of a record whose header has `length`; nil: no record can be that long or that short.
  func room(forLength length: Int) -> Int? {
    let room = length - TLSRecordKeys.tag - (sendsNonce ? 8 : 0)
    return room >= (isModern ? 1 : 0) && room <= 16_384 + (isModern ? 1 : 0) ? room : nil
  }

  /// The result of opening a record.
  enum Opened {
    /// This many bytes of application data.
    case data(Int)
    /// A record of this kind and length for GnuTLS, which must get the record unchanged.
    case other(kind: UInt8, Int)
    /// Not application data, and empty.
    case hollow
    /// No holder of the key has written this.
    case forged
  }

  /// Decrypts the record at `record`, whose header has `length`, into `room`, whose size `room(forLength:)` returns.
  func open(_ record: UnsafeRawPointer, length: Int, into room: UnsafeMutableRawPointer) -> Opened {
    let content = record + TLSRecordKeys.header
    var body = content
    var count = length
    if sendsNonce {
      (scratch + 4).copyMemory(from: content, byteCount: 8)
      body += 8
      count -= 8
    } else {
      storeNonce()
    }
    let plain = count - TLSRecordKeys.tag
    let authBytes = storeAuth(record, length: isModern ? length : plain)
    var opened = plain
    let status = gnutls_aead_cipher_decrypt(
      cipher, scratch, 12, auth, authBytes, TLSRecordKeys.tag, body, count, room, &opened)
    guard status >= 0, opened == plain else { return .forged }
    guard isModern else {
      sequence &+= 1
      return .data(plain)
    }
    // The type is the last byte that is not padding.
    var end = plain
    while end > 0, room.load(fromByteOffset: end - 1, as: UInt8.self) == 0 { end -= 1 }
    guard end > 0 else { return .forged }
    let kind = room.load(fromByteOffset: end - 1, as: UInt8.self)
    guard kind == TLSRecordKeys.data else {
      return end > 1 ? .other(kind: kind, end - 1) : .hollow
    }
    sequence &+= 1
    return .data(end - 1)
  }

  /// Encrypts `count` bytes as one record at `record`, which must have the room for it. Returns the record's size; nil:
  /// the cipher failed.
  func seal(
    _ bytes: UnsafeMutableRawPointer, _ count: Int, as kind: UInt8 = TLSRecordKeys.data,
    at record: UnsafeMutableRawPointer
  ) -> Int? {
    let length = count + overhead
    record.storeBytes(of: isModern ? TLSRecordKeys.data : kind, as: UInt8.self)
    record.storeBytes(of: 3, toByteOffset: 1, as: UInt8.self)
    record.storeBytes(of: 3, toByteOffset: 2, as: UInt8.self)
    record.storeBytes(of: UInt8(truncatingIfNeeded: length >> 8), toByteOffset: 3, as: UInt8.self)
    record.storeBytes(of: UInt8(truncatingIfNeeded: length), toByteOffset: 4, as: UInt8.self)
    var body = record + TLSRecordKeys.header
    storeNonce()
    if sendsNonce {
      body.copyMemory(from: scratch + 4, byteCount: 8)
      body += 8
    }
    let authBytes = storeAuth(record, length: isModern ? length : count)
    // The cipher works in place, and the type byte of TLS 1.3 must follow the content.
    body.copyMemory(from: bytes, byteCount: count)
    if isModern { body.storeBytes(of: kind, toByteOffset: count, as: UInt8.self) }
    let plain = count + (isModern ? 1 : 0)
    var written = plain + TLSRecordKeys.tag
    let expected = written
    let status = gnutls_aead_cipher_encrypt(
      cipher, scratch, 12, auth, authBytes, TLSRecordKeys.tag, body, plain, body, &written)
    guard status >= 0, written == expected else { return nil }
    sequence &+= 1
    return TLSRecordKeys.header + length
  }

  private func storeNonce() {
    (scratch + 4).storeBytes(of: (base ^ sequence).bigEndian, as: UInt64.self)
  }

  /// The additional data, which is authenticated but not encrypted: the header, in TLS 1.2 with the record's number.
  private func storeAuth(_ record: UnsafeRawPointer, length: Int) -> Int {
    var place = auth
    if !isModern {
      place.storeBytes(of: sequence.bigEndian, as: UInt64.self)
      place += 8
    }
    place.copyMemory(from: record, byteCount: 3)
    place.storeBytes(of: UInt8(truncatingIfNeeded: length >> 8), toByteOffset: 3, as: UInt8.self)
    place.storeBytes(of: UInt8(truncatingIfNeeded: length), toByteOffset: 4, as: UInt8.self)
    return isModern ? 5 : 13
  }
}
