// The protocol versions and ciphers in use: the administrator's choice, within what is safe.
import CGnuTLS
import Glibc
import Streams

/// A priority string that GnuTLS accepts, without versions before TLS 1.2.
final class TLSPriority {
  let cache: gnutls_priority_t
  /// The final string for GnuTLS.
  let text: String

  /// Removed from every priority string, whatever the administrator has set.
  ///
  /// One ClientHello that offers only FFDHE8192 costs the broker 210 ms of a processor, FFDHE2048 more than 10 ms, an
  /// elliptic curve 0.3 ms (P-521: 1.4 ms). Every client since TLS 1.2 supports a curve.
  private static let without =
    ":-VERS-SSL3.0:-VERS-TLS1.0:-VERS-TLS1.1:-VERS-DTLS-ALL:-DHE-RSA:-GROUP-DH-ALL"

  /// - Throws: the error in the string.
  init(_ wanted: String?) throws(TLSError) {
    if let wanted { try TLSPriority.check(wanted) }
    text = (wanted ?? TLSPriority.usual(hasAES: TLSPriority.processorHasAES)) + TLSPriority.without
    var made: gnutls_priority_t?
    let status = gnutls_priority_init(&made, text, nil)
    guard status != GNUTLS_E_NO_PRIORITIES_WERE_SET else {
      throw TLSError(.priorityWithoutVersions, [wanted ?? text])
    }
    guard status >= 0, let made else {
      throw TLSError(.priorityInvalid, [text, tlsErrorText(status)])
    }
    cache = made
    let allowed = [GNUTLS_TLS1_2, GNUTLS_TLS1_3]
    let versions = TLSPriority.versions(of: made)
    guard versions.contains(where: { allowed.contains($0) }) else {
      throw TLSError(.priorityWithoutVersions, [wanted ?? text])
    }
    guard versions.allSatisfy({ allowed.contains($0) }) else {
      throw TLSError(.priorityWithOldVersions, [wanted ?? text])
    }
    var groups: UnsafePointer<UInt32>?
    var exchanges: UnsafePointer<UInt32>?
    // TLS 1.3 has key exchange only by groups, and GnuTLS lists no other for it.
    let needsExchange = versions.contains(GNUTLS_TLS1_2)
    guard gnutls_priority_group_list(made, &groups) > 0,
      !needsExchange || gnutls_priority_kx_list(made, &exchanges) > 0
    else {
      throw TLSError(.priorityWithoutCurves, [wanted ?? text])
    }
  }

  deinit { gnutls_priority_deinit(cache) }

  /// Checks the administrator's own string, so that an error quotes that string.
  private static func check(_ wanted: String) throws(TLSError) {
    var made: gnutls_priority_t?
    var place: UnsafePointer<CChar>?
    let status: (Int32, String) = wanted.withCString { text in
      let status = gnutls_priority_init(&made, text, &place)
      return (status, place.map { String(cString: $0) } ?? "")
    }
    guard status.0 >= 0 else {
      let text = tlsErrorText(status.0)
      guard !status.1.isEmpty, status.1 != wanted else {
        throw TLSError(.priorityInvalid, [wanted, text])
      }
      throw TLSError(.priorityInvalidAt, [wanted, status.1, text])
    }
    if let made { gnutls_priority_deinit(made) }
  }

  private static func versions(of cache: gnutls_priority_t) -> [gnutls_protocol_t] {
    var list: UnsafePointer<UInt32>?
    let count = gnutls_priority_protocol_list(cache, &list)
    guard count > 0, let list else { return [] }
    return (0..<Int(count)).map { gnutls_protocol_t(rawValue: list[$0]) }
  }

  /// With AES instructions in the processor, AES is several times as fast as any other cipher. So the broker's order of
  /// ciphers counts and not the client's.
  static func usual(hasAES: Bool) -> String {
    let gcm = "+AES-256-GCM:+AES-128-GCM"
    let chacha = "+CHACHA20-POLY1305"
    return "NORMAL:%SERVER_PRECEDENCE:-CIPHER-ALL:"
      + (hasAES ? "\(gcm):\(chacha)" : "\(chacha):\(gcm)")
      + ":+AES-256-CCM:+AES-128-CCM:+AES-256-CBC:+AES-128-CBC"
  }

  /// Whether the processor has instructions for AES and for GCM.
  static var processorHasAES: Bool {
    guard let bytes = try? readFile("/proc/cpuinfo", limit: 1 << 20) else { return false }
    return hasAES(cpuinfo: String(decoding: bytes, as: UTF8.self))
  }

  static func hasAES(cpuinfo: String) -> Bool {
    let lines = cpuinfo.split(separator: "\n")
    guard let flags = lines.first(where: { $0.hasPrefix("flags") || $0.hasPrefix("Features") })
    else { return false }
    let words = Set(flags.split { $0 == " " || $0 == "\t" || $0 == ":" })
    return words.contains("aes") && (words.contains("pclmulqdq") || words.contains("pmull"))
  }
}

/// The bytes of a file of at most `limit` bytes. The error names the file.
func readFile(_ path: String, limit: Int) throws(TLSError) -> [UInt8] {
  let file = Descriptor(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK))
  guard file.number >= 0 else { throw TLSError(.fileNotOpened, [path, errorText(errno)]) }
  var status = stat()
  guard fstat(file.number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
    throw TLSError(.fileNotRegular, [path])
  }
  var bytes: [UInt8] = []
  var room = [UInt8](repeating: 0, count: 16 << 10)
  while bytes.count <= limit {
    let count = read(file.number, &room, room.count)
    if count == 0 { return bytes }
    if count < 0 {
      if errno == EINTR { continue }
      throw TLSError(.fileNotRead, [path, errorText(errno)])
    }
    bytes += room[..<count]
  }
  throw TLSError(.fileTooLarge, [path, limit >> 10])
}
