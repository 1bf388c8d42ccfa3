// SASL as a whole: the library, its threads, and the requirements on clients.
import CSASL
import Glibc
import Streams

/// Creates the exchanges of clients that authenticate with SASL. One per broker.
final class SASLService {
  /// libvirt's service name, which is also the name of the file with the mechanisms.
  static let name = "libvirt"
  /// Limit of one block in bytes, plain or encoded; the broker announces it to the other side.
  static let blockBytes = 65_536

  private var settings: SASLSettings
  private var allowed: NameList?
  /// Looked up once: the library would query the name service for it at every client.
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

  /// Applies new requirements to later exchanges. Those under way keep the old ones.
  func adopt(_ settings: SASLSettings) {
    self.settings = settings
    allowed = settings.allowedUsers.map { NameList($0) }
  }

  /// An exchange with one client, not started.
  func exchange(over connection: SASLConnection) -> SASLExchange {
    SASLExchange(hostName: hostName, connection, leastStrength: settings.leastTCPStrength)
  }

  /// Whether the user is allowed. An empty list allows no user; without a list all are allowed.
  func admits(_ user: String) -> Bool {
    allowed?.admits(user) ?? true
  }

  /// The mechanisms offered over such connections, or why there are none. It may block, so call it only at start.
  func offered(over connection: SASLConnection) -> Result<String, Message> {
    exchange(over: connection).begin()
  }

  // MARK: The library

  /// Initialised once per process, before any other call of the library.
  private static let mutexes: Void = {
    // Exchanges run on threads of the pool, several at a time. Encoding and releasing happens on the loop's thread.
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

  /// Initialises the server side once per process; the library's result.
  private static let started: Int32 = {
    _ = mutexes
    // The library does not copy the name: it is never freed.
    return sasl_server_init(nil, strdup(name))
  }()

  /// The same for the client side, for connections to other hosts.
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

  /// The library's text for one of its results.
  static func words(_ status: Int32) -> String {
    guard let words = sasl_errstring(status, nil, nil) else { return "result \(status)" }
    return String(cString: words)
  }

  /// The same with the connection's detail.
  static func words(_ status: Int32, of connection: OpaquePointer?) -> String {
    guard let connection, let detail = sasl_errdetail(connection) else { return words(status) }
    return "\(words(status)) (\(String(cString: detail)))"
  }
}

/// The properties of the connection that a mechanism needs.
struct SASLConnection: Sendable {
  /// The protection of the connection below SASL.
  enum Cover: Sendable, Equatable {
    /// None: the mechanism must bring its own protection.
    case none
    /// The bytes do not leave the machine.
    case local
    /// TLS, with keys of so many bits.
    case tls(bits: UInt32)
  }
  var cover: Cover
  /// Both ends as `address;port`, if they have that form.
  var local: String?
  var remote: String?
}

extension Address {
  /// The address in SASL's form: `127.0.0.1;16509`, `::1;16509`.
  var saslText: String? {
    let text = self.text
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let host = text[..<colon].filter { $0 != "[" && $0 != "]" }
    return "\(host);\(text[text.index(after: colon)...])"
  }
}
