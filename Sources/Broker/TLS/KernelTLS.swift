// TLS done by the kernel (kTLS): what this one offers, and how it is given a session's keys.
import CGnuTLS
import Glibc

/// What the kernel does of TLS, found out once. Sessions that are handed over have their records encrypted and
/// decrypted by it: to the broker they are plain sockets (TLSSession+Kernel).
///
/// Off unless `tls_kernel` asks for it: it was seen to work in a guest with Linux 6.18 (Tests/Kernel/ktls,
/// bench/results), whose emulated processor says nothing of what it gains. What needs such a kernel in
/// KernelTLSTests is skipped where there is none.
final class KernelTLS {
  /// How far a kernel goes.
  enum Offer: Equatable {
    case nothing(because: String)
    /// A direction's keys are its keys for ever. That does for TLS 1.2, which knows no others; with TLS 1.3
    /// the client may change its keys at any time, and the broker has to sooner or later.
    case lastingKeys
    /// Linux 6.14 and newer.
    case freshKeys
  }

  /// One direction of a connection, by the name of the option that gives it keys.
  enum Direction: Int32 {
    case sending = 1
    case receiving = 2
  }

  /// The level of the kernel's TLS, in options and in control messages.
  static let level: Int32 = 282
  /// The control message that says what kind a record to be sent is.
  static let setsKind: Int32 = 1
  /// The control message that says what kind a received record is.
  static let tellsKind: Int32 = 2
  private static let upperProtocol: Int32 = 31

  private let changesKeys: Bool
  private let log: BrokerLog
  private var hasComplained = false

  init(changesKeys: Bool, log: BrokerLog) {
    self.changesKeys = changesKeys
    self.log = log
  }

  /// The kernel's TLS, if it has any. The log says what becomes of the sessions.
  static func find(_ offer: Offer = .probe(), log: BrokerLog) -> KernelTLS? {
    switch offer {
    case .nothing(let reason):
      log.warning("TLS is not handed to the kernel (tls_kernel), which has none: \(reason)")
      return nil
    case .lastingKeys:
      log.warning(
        "of TLS only 1.2 is handed to the kernel (tls_kernel): it cannot change keys, as 1.3 has to "
          + "(Linux 6.14 can)")
      return KernelTLS(changesKeys: false, log: log)
    case .freshKeys:
      log.info("TLS is handed to the kernel (tls_kernel)")
      return KernelTLS(changesKeys: true, log: log)
    }
  }

  /// Whether sessions of that version are for the kernel.
  func takes(_ version: gnutls_protocol_t) -> Bool {
    version == GNUTLS_TLS1_2 || (version == GNUTLS_TLS1_3 && changesKeys)
  }

  /// Has the kernel speak TLS on a connection. Until it has keys, nothing changes.
  func attach(to socket: Int32) -> Bool { succeeded(KernelTLS.attach(to: socket)) }

  /// Gives the kernel the keys of one direction, which it uses from the next byte on.
  func install(_ keys: KernelKeys, _ direction: Direction, on socket: Int32) -> Bool {
    succeeded(KernelTLS.install(keys, direction, on: socket))
  }

  /// What it refused for one session it will refuse for others, so that is said once.
  private func succeeded(_ status: Int32) -> Bool {
    guard status != 0 else { return true }
    if !hasComplained {
      hasComplained = true
      log.warning(
        "the kernel did not take a TLS session (tls_kernel): \(errorText(status)); that one stays with the "
          + "broker, and so do others like it")
    }
    return false
  }

  /// - Returns: an errno; 0: done.
  fileprivate static func attach(to socket: Int32) -> Int32 {
    "tls".withCString { setsockopt(socket, Int32(IPPROTO_TCP), upperProtocol, $0, 3) } == 0
      ? 0 : errno
  }

  /// - Returns: an errno; 0: done.
  fileprivate static func install(
    _ keys: KernelKeys, _ direction: Direction, on socket: Int32
  ) -> Int32 {
    let status = keys.withBytes {
      setsockopt(socket, level, direction.rawValue, $0.baseAddress, socklen_t($0.count))
    }
    return status == 0 ? 0 : errno
  }
}

extension KernelTLS.Offer {
  /// Tries it, on a connection from the machine to itself: only a connection can be given keys.
  static func probe() -> KernelTLS.Offer {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let listener = Descriptor(socket(AF_INET, kind, 0))
    let near = Descriptor(socket(AF_INET, kind, 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isConnected = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        listener.number >= 0 && near.number >= 0 && bind(listener.number, $0, length) == 0
          && listen(listener.number, 1) == 0 && getsockname(listener.number, $0, &length) == 0
          && connect(near.number, $0, length) == 0
      }
    }
    guard isConnected else {
      return .nothing(because: "it could not be tried on 127.0.0.1: \(errorText(errno))")
    }
    let attached = KernelTLS.attach(to: near.number)
    guard attached == 0 else {
      return .nothing(
        because: attached == ENOENT ? "there is no module 'tls'" : errorText(attached))
    }
    let keys = KernelKeys(
      isModern: true, cipher: .aes128GCM,
      key: Array(repeating: 1, count: 16),
      iv: Array(repeating: 2, count: 12), sequence: 0)
    guard let keys else { return .nothing(because: "no keys could be made") }
    let first = KernelTLS.install(keys, .sending, on: near.number)
    guard first == 0 else { return .nothing(because: errorText(first)) }
    return KernelTLS.install(keys, .sending, on: near.number) == 0 ? .freshKeys : .lastingKeys
  }
}

/// The keys of one direction as the kernel wants them: version, cipher, nonce, key, salt, number of the next
/// record.
struct KernelKeys: Equatable {
  /// By the kernel's numbers.
  enum Cipher: UInt16 {
    case aes128GCM = 51
    case aes256GCM = 52
    case chaCha20Poly1305 = 54

    /// nil: the kernel is not asked to do that one.
    init?(_ cipher: gnutls_cipher_algorithm_t) {
      switch cipher {
      case GNUTLS_CIPHER_AES_128_GCM: self = .aes128GCM
      case GNUTLS_CIPHER_AES_256_GCM: self = .aes256GCM
      case GNUTLS_CIPHER_CHACHA20_POLY1305: self = .chaCha20Poly1305
      default: return nil
      }
    }
  }

  private var bytes: [UInt8]

  /// nil: lengths that do not belong to that cipher.
  init?(isModern: Bool, cipher: Cipher, key: [UInt8], iv: [UInt8], sequence: UInt64) {
    let saltBytes = cipher == .chaCha20Poly1305 ? 0 : 4
    // With GCM, TLS 1.2 sends most of the nonce along, and any number not used before will do.
    let sendsNonce = !isModern && saltBytes > 0
    guard key.count == (cipher == .aes128GCM ? 16 : 32),
      iv.count == (sendsNonce ? saltBytes : 12)
    else { return nil }
    let counted = withUnsafeBytes(of: sequence.bigEndian) { Array($0) }
    let nonce = sendsNonce ? counted : Array(iv.dropFirst(saltBytes))
    bytes = withUnsafeBytes(of: (isModern ? 0x0304 : 0x0303) as UInt16) {
      Array($0)
    }
    bytes += withUnsafeBytes(of: cipher.rawValue) { Array($0) }
    bytes += nonce + key + iv.prefix(saltBytes) + counted
  }

  /// A session's own, as GnuTLS has them.
  init?(of session: gnutls_session_t, _ direction: KernelTLS.Direction) {
    var iv = gnutls_datum_t()
    var key = gnutls_datum_t()
    var number: UInt64 = 0
    let status = withUnsafeMutableBytes(of: &number) {
      gnutls_record_get_state(
        session, direction == .receiving ? 1 : 0, nil, &iv, &key,
        $0.assumingMemoryBound(to: UInt8.self).baseAddress)
    }
    let version = gnutls_protocol_get_version(session)
    guard status >= 0, version == GNUTLS_TLS1_2 || version == GNUTLS_TLS1_3,
      let cipher = Cipher(gnutls_cipher_get(session))
    else { return nil }
    func bytes(_ datum: gnutls_datum_t) -> [UInt8] {
      Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
    }
    self.init(
      isModern: version == GNUTLS_TLS1_3, cipher: cipher, key: bytes(key), iv: bytes(iv),
      sequence: UInt64(bigEndian: number))
  }

  func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R { bytes.withUnsafeBytes(body) }

  /// Whether both encrypt the same way, from whichever record on.
  func isSameKey(as other: KernelKeys) -> Bool { bytes.dropLast(8) == other.bytes.dropLast(8) }
}
