// The sockets that the service manager has bound and passed, and the service of each.
import Broker
@preconcurrency import Glibc
import Streams

/// The sockets the daemon was started with. If the service manager passes any, the daemon binds none itself: a service
/// without a socket is not offered.
struct Activation: Equatable, Sendable {
  /// The service of a socket, from the name of its unit: virtproxyd's or ours.
  enum Service: String, CaseIterable, Sendable {
    case readWrite = ""
    case readOnly = "-ro"
    case admin = "-admin"
    case tcp = "-tcp"
    case tls = "-tls"

    init?(socketName: String) {
      for service in Service.allCases {
        for daemon in ["virtbrokerd", "virtproxyd"]
        where socketName == "\(daemon)\(service.rawValue).socket" {
          self = service
          return
        }
      }
      return nil
    }
  }

  struct Socket: Equatable, Sendable {
    let service: Service
    let descriptor: CInt
    let name: String
    /// nil: not a UNIX socket.
    let unixPath: String?
  }

  static let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
  /// The first descriptor that the service manager passes.
  static let firstDescriptor: CInt = 3

  let sockets: [Socket]

  /// The descriptors and names that the environment has for this process. Nil: no sockets were passed to this process,
  /// or the environment does not identify them; in the latter case the log has the reason.
  static func named(
    _ environment: [String: String], process: pid_t, log: BrokerLog
  ) -> [(descriptor: CInt, name: String)]? {
    guard let text = environment["LISTEN_FDS"] else { return nil }
    guard environment["LISTEN_PID"] == "\(process)" else {
      log.write(.listenFDsOfAnotherProcess)
      return nil
    }
    guard let count = CInt(text), count >= 0, count <= 1024 else {
      log.write(.invalidListenFDs, [text])
      return nil
    }
    let names = (environment["LISTEN_FDNAMES"] ?? "").split(
      separator: ":", omittingEmptySubsequences: false)
    guard count > 0 else { return nil }
    guard environment["LISTEN_FDNAMES"] != nil, names.count == count else {
      log.write(
        .invalidListenFDNames, [counted(count, "name"), environment["LISTEN_FDNAMES"] ?? "nothing"])
      return nil
    }
    return names.enumerated().map { (firstDescriptor + CInt($0.offset), String($0.element)) }
  }

  /// Checks the sockets that were passed.
  init(_ named: [(descriptor: CInt, name: String)]) throws(StartFailure) {
    var sockets: [Socket] = []
    for (descriptor, name) in named {
      func failure(_ definition: MessageDefinition, _ more: String...) -> StartFailure {
        StartFailure(.network, definition, [name, descriptor] + more)
      }
      guard let service = Service(socketName: name) else { throw failure(.unknownActivatedSocket) }
      guard let family = Activation.option(descriptor, SO_DOMAIN) else {
        throw failure(.activatedFileNotSocket, reason())
      }
      guard Activation.option(descriptor, SO_TYPE) == Int32(SOCK_STREAM.rawValue),
        Activation.option(descriptor, SO_ACCEPTCONN) == 1
      else { throw failure(.activatedSocketNotListening) }
      let isUNIX = family == AF_UNIX
      guard isUNIX || service == .tcp || service == .tls else {
        throw failure(.activatedSocketNotUNIX)
      }
      sockets.append(
        Socket(
          service: service, descriptor: descriptor, name: name,
          unixPath: isUNIX ? Activation.path(of: descriptor) : nil))
    }
    self.sockets = sockets
  }

  /// The listeners of all services but admin.
  func listeners(_ configuration: Configuration, places: Places) -> [ListenerSettings] {
    sockets.compactMap { socket in
      let address = ListenerSettings.Address.activated(
        descriptor: socket.descriptor, name: socket.name, unixPath: socket.unixPath)
      return switch socket.service {
      case .readWrite:
        ListenerSettings(
          address, authentication: configuration.unixAuthentication(readOnly: false, places))
      case .readOnly:
        ListenerSettings(
          address, isReadOnly: true,
          authentication: configuration.unixAuthentication(readOnly: true, places))
      case .tcp: ListenerSettings(address, authentication: configuration.authTCP)
      case .tls: ListenerSettings(address, authentication: configuration.authTLS, isTLS: true)
      case .admin: nil
      }
    }
  }

  /// The listener for administrators, if its socket was passed.
  var adminListener: ListenerSettings? {
    guard let socket = sockets.first(where: { $0.service == .admin }) else { return nil }
    var listener = ListenerSettings(
      .activated(
        descriptor: socket.descriptor, name: socket.name, unixPath: socket.unixPath))
    listener.isAdmin = true
    return listener
  }

  private static func option(_ descriptor: CInt, _ name: CInt) -> CInt? {
    var value: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
  }

  /// The path a UNIX socket is bound to; empty: it has none.
  private static func path(of descriptor: CInt) -> String {
    var address = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let status = withUnsafeMutableBytes(of: &address) { bytes in
      guard let base = bytes.baseAddress else { return CInt(-1) }
      return getsockname(descriptor, base.assumingMemoryBound(to: sockaddr.self), &length)
    }
    guard status == 0 else { return "" }
    return withUnsafeBytes(of: &address.sun_path) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}
