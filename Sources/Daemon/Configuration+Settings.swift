import Broker
@preconcurrency import Glibc
// Conversion of the configuration to the broker's settings.
import Streams

extension Configuration {
  /// Loads the file at `path`. The default file may be missing; a file named on the command line must exist.
  static func load(
    _ path: String, mayBeMissing: Bool
  ) throws(StartFailure) -> (Configuration, [Diagnostic]) {
    guard let bytes = try contents(of: path, mayBeMissing: mayBeMissing) else {
      return (Configuration(), [])
    }
    do {
      return read(try ConfigurationFile(name: path, bytes: bytes))
    } catch {
      throw StartFailure(
        .configuration, .invalidSyntax, [error.place, error.expected, error.found])
    }
  }

  /// The broker's settings, with the paths of `places` or with the sockets that the service manager passed. The only
  /// lookup here is that of the sockets' group.
  func settings(
    places: Places, names: SocketNames = .usual, idleSeconds: Int, activation: Activation? = nil
  ) throws(StartFailure) -> BrokerSettings {
    var settings = BrokerSettings()
    settings.version = Options.version
    settings.timeouts.idleSeconds = idleSeconds
    if let activation {
      settings.listeners = activation.listeners(self, places: places)
      settings.adminListener = activation.adminListener
    } else {
      let group = try group()
      settings.listeners = listeners(places: places, names: names, group: group)
      settings.adminListener = adminListener(places: places, names: names, group: group)
    }
    settings.backends.systemDirectory = backendDirectory ?? "/run/libvirt"
    // The system's sockets serve root's session URIs, as in libvirt's clients.
    settings.backends.sessionDirectory =
      backendSessionDirectory ?? (places.isRoot ? nil : places.runtimeDirectory)
    settings.upstreams = try upstreamSettings(places: places)
    if !places.isRoot { settings.backends.programs = .ofThisProcess() }
    if settings.listeners.contains(where: \.isTLS) {
      if let failure = tlsContradictions({ self.places[$0] ?? $0 }).failure { throw failure }
      settings.tls = tlsSettings(places: places)
    }
    settings.limits.maxClients = maxClients
    // libvirt turns a backlog of 0 into 30.
    settings.limits.maxQueuedClients = maxQueuedClients == 0 ? 30 : maxQueuedClients
    settings.limits.maxAnonymousClients = maxAnonymousClients
    settings.limits.maxClientRequests = maxClientRequests
    settings.limits.maxClientsPerIdentity = maxClientsPerIdentity
    settings.limits.maxClientsPerAddress = maxClientsPerAddress
    settings.timeouts.loginSeconds = Double(authTimeout)
    settings.timeouts.openSeconds = Double(openTimeout)
    settings.backends.reconnect = upstreamReconnect
    settings.timeouts.reconnectSeconds = Double(upstreamReconnectSeconds)
    settings.timeouts.slowCallSeconds = Double(slowCallSeconds)
    settings.sasl.allowedUsers = saslUsers
    settings.sasl.leastTCPStrength = tcpMinSSF
    settings.limits.bufferBytes = maxClientBuffer
    settings.limits.totalBufferBytes = maxTotalBuffer
    settings.keepAlive.intervalSeconds = keepAliveInterval
    settings.keepAlive.count = keepAliveCount
    settings.rates = rates
    settings.metrics = metricsAddress
    settings.audit = audit
    settings.admin.maxClients = adminMaxClients
    settings.admin.maxQueuedClients = adminMaxQueuedClients == 0 ? 30 : adminMaxQueuedClients
    settings.admin.keepAlive.intervalSeconds = adminKeepAliveInterval
    settings.admin.keepAlive.count = adminKeepAliveCount
    settings.admin.mainWorkers = WorkerSettings(
      minimum: UInt32(clamping: minWorkers), maximum: UInt32(clamping: maxWorkers),
      priority: UInt32(clamping: prioWorkers))
    settings.admin.adminWorkers = WorkerSettings(
      minimum: UInt32(clamping: adminMinWorkers), maximum: UInt32(clamping: adminMaxWorkers))
    return settings
  }

  private func listeners(
    places: Places, names: SocketNames, group: UInt32?
  ) -> [ListenerSettings] {
    let directory = socketDirectory ?? places.runtimeDirectory
    func unix(_ name: String, _ mode: UInt32) -> ListenerSettings.Address {
      .unix(path: "\(directory)/\(name)", mode: mode, group: group)
    }
    var listeners = [
      ListenerSettings(
        unix(names.readWrite, readWriteMode(places)),
        authentication: unixAuthentication(readOnly: false, places))
    ]
    // A user's daemon has no read-only socket: no other user could reach it.
    if places.isRoot {
      listeners.append(
        ListenerSettings(
          unix(names.readOnly, readOnlyMode), isReadOnly: true,
          authentication: unixAuthentication(readOnly: true, places)))
    }
    if listenTCP {
      listeners.append(
        ListenerSettings(.tcp(host: listenAddress, port: tcpPort), authentication: authTCP))
    }
    if listenTLS {
      listeners.append(
        ListenerSettings(
          .tcp(host: listenAddress, port: tls.port), authentication: authTLS, isTLS: true))
    }
    return listeners
  }

  /// How clients of a UNIX socket authenticate. libvirt's daemons are built with polkit, and root's use it by default.
  /// Only the user itself reaches a user's own daemon.
  func unixAuthentication(readOnly: Bool, _ places: Places) -> Authentication {
    (readOnly ? authUnixReadOnly : authUnixReadWrite) ?? (places.isRoot ? .polkit : .none)
  }

  /// If polkit decides about clients, every user may connect to the socket.
  func readWriteMode(_ places: Places) -> UInt32 {
    readWriteMode
      ?? (unixAuthentication(readOnly: false, places) == .polkit ? 0o777 : 0o700)
  }

  /// In the directory of the other sockets. Whatever the socket's group and permissions are, it serves only the user
  /// that runs the broker.
  private func adminListener(
    places: Places, names: SocketNames, group: UInt32?
  ) -> ListenerSettings {
    let directory = socketDirectory ?? places.runtimeDirectory
    var listener = ListenerSettings(
      .unix(path: "\(directory)/\(names.admin)", mode: adminMode, group: group))
    listener.isAdmin = true
    return listener
  }

  /// The number of the sockets' group. The text is first a name, then a number; `+5` is always a number.
  private func group() throws(StartFailure) -> UInt32? {
    guard let socketGroup else { return nil }
    if !socketGroup.hasPrefix("+"), let entry = getgrnam(socketGroup) {
      return entry.pointee.gr_gid
    }
    if let number = UInt32(socketGroup) { return number }
    throw StartFailure(
      .network, .unknownGroup, [places["unix_sock_group"] ?? "unix_sock_group", socketGroup])
  }
}

/// The bytes of a file; nil: it is missing and may be. A file of more than 10 MiB is refused.
private func contents(of path: String, mayBeMissing: Bool) throws(StartFailure) -> [UInt8]? {
  let limit = 10 << 20
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
  guard descriptor >= 0 else {
    if errno == ENOENT && mayBeMissing { return nil }
    throw StartFailure(.configuration, .cannotOpenConfiguration, [path, reason()])
  }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var room = [UInt8](repeating: 0, count: 64 << 10)
  while bytes.count <= limit {
    let count = room.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
    if count == 0 { return bytes }
    if count < 0 {
      if errno == EINTR { continue }
      throw StartFailure(.configuration, .cannotReadConfiguration, [path, reason()])
    }
    bytes += room[..<count]
  }
  throw StartFailure(.configuration, .configurationTooLarge, [path])
}
