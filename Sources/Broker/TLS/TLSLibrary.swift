// The TLS library as a whole.
import CGnuTLS

enum TLSLibrary {
  static var version: String { gnutls_check_version(nil).map { String(cString: $0) } ?? "unknown" }
}
