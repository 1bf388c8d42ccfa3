// SASL as a whole: the library, where its work is done, and what is asked of every client.
import CSASL
import Glibc
import Streams

/// Makes the exchanges of clients that authenticate with SASL. One per broker.
final class SASLService {
  /// libvirt's name for itself, for the service and for the file with the mechanisms alike.
  static let name = "libvirt"
  /// What one block may hold at most, plain or encoded, and what is promised to the other side.
  static let blockBytes = 65_536

  private var settings: SASLSettings
  private var allowed: NameList?
  /// Asked for once: the library would ask the name service for it at every client.
  private let hostName: String?

  init(_ settings: SASLSettings) throws(BrokerFailure) {
    self.settings = settings
    allowed = settings.allowedUsers.map { NameList($0) }
    guard SASLService.started == SASL_OK else {
      throw BrokerFailure(
        .saslServerNotStarted, [SASLService.words(SASLService.started), SASLService.name])
    }
    hostName = SASLService.ownHostName()
  }

  static var libraryVersion: String {
    var (major, minor, step): (Int32, Int32, Int32) = (0, 0, 0)
    sasl_version_info(nil, nil, &major, &minor, &step, nil)
    return "\(major).\(minor).\(step)"
  }

  /// What is asked of every client from now on; an exchange under way ends as it began.
  func adopt(_ settings: SASLSettings) {
    self.settings = settings
    allowed = settings.allowedUsers.map { NameList($0) }
  }

  /// An exchange with one client, not begun.
  func exchange(over connection: SASLConnection) -> SASLExchange {
    SASLExchange(hostName: hostName, connection, leastStrength: settings.leastTCPStrength)
  }

  /// Whether the user is allowed. An empty list allows no user; without a list all are allowed.
  func admits(_ user: String) -> Bool {
    allowed?.admits(user) ?? true
  }

  /// The mechanisms offered to such connections, or why there are none. For the start, where waiting is
  /// allowed.
  func offered(over connection: SASLConnection) -> Result<String, Message> {
    exchange(over: connection).begin()
  }

  // MARK: The library

  /// Once in a process, before anything else of it.
  private static let mutexes: Void = {
    // Exchanges are done on threads of the pool, several at a time; encoding and releasing on the loop's.
    sasl_set_mutex(
      {
        let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        return UnsafeMutableRawPointer(mutex)
      },
      {
        guard let mutex = $0?.assumingMemoryBound(to: pthread_mutex_t.self) else { return -1 }
        return pthread_mutex_lock(mutex) == 0 ? 0 : -1
      },
      {
        guard let mutex = $0?.assumingMemoryBound(to: pthread_mutex_t.self) else { return -1 }
        return pthread_mutex_unlock(mutex) == 0 ? 0 : -1
      },
      {
        guard let mutex = $0?.assumingMemoryBound(to: pthread_mutex_t.self) else { return }
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
      })
  }()

  /// Once in a process; what it came to.
  private static let started: Int32 = {
    _ = mutexes
    // The library does not copy the name: it is never freed.
    return sasl_server_init(nil, strdup(name))
  }()

  /// The same for the broker as a client of others.
  static let clientStarted: Int32 = {
    _ = mutexes
    return sasl_client_init(nil)
  }()

  private static func ownHostName() -> String? {
    var connection: OpaquePointer?
    guard sasl_server_new(name, nil, nil, nil, nil, nil, 0, &connection) == SASL_OK else {
      return nil
    }
    defer { sasl_dispose(&connection) }
    var value: UnsafeRawPointer?
    guard sasl_getprop(connection, SASL_SERVERFQDN, &value) == SASL_OK, let value else {
      return nil
    }
    return String(cString: value.assumingMemoryBound(to: CChar.self))
  }

  /// The library's words for one of its results.
  static func words(_ status: Int32) -> String {
    guard let words = sasl_errstring(status, nil, nil) else { return "result \(status)" }
    return String(cString: words)
  }

  /// The same with the detail that a connection has.
  static func words(_ status: Int32, of connection: OpaquePointer?) -> String {
    guard let connection, let detail = sasl_errdetail(connection) else { return words(status) }
    return "\(words(status)) (\(String(cString: detail)))"
  }
}

/// What a mechanism has to know of the connection it works on.
struct SASLConnection: Sendable {
  /// What protects the bytes already.
  enum Cover: Sendable, Equatable {
    /// Nothing: the mechanism has to bring its own protection.
    case none
    /// They do not leave the machine.
    case local
    /// TLS, with keys of so many bits.
    case tls(bits: UInt32)
  }
  var cover: Cover
  /// Both ends as `address;port`, if that is what they have.
  var local: String?
  var remote: String?
}

extension Address {
  /// The address as SASL writes it: `127.0.0.1;16509`, `::1;16509`.
  var saslText: String? {
    let text = self.text
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let host = text[..<colon].filter { $0 != "[" && $0 != "]" }
    return "\(host);\(text[text.index(after: colon)...])"
  }
}
