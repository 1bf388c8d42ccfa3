import Broker
@preconcurrency import Glibc
// From what the file says to what the broker is told.
import Streams

extension Configuration {
  /// The file at `path`. A default file may be missing, one that was asked for must be there.
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

  /// What the broker needs, on the paths of `places`, or on the sockets that were handed over. Only the group is
  /// still to be looked up.
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
    // Root's session URIs are served by the system's sockets, as libvirt's clients have it.
    settings.backends.sessionDirectory =
      backendSessionDirectory ?? (places.isRoot ? nil : places.runtimeDirectory)
    settings.upstreams = try upstreamSettings(places: places)
    if !places.isRoot { settings.backends.programs = .ofThisProcess() }
    if settings.listeners.contains(where: \.isTLS) {
      if let failure = tlsContradictions({ self.places[$0] ?? $0 }).failure { throw failure }
      settings.tls = tlsSettings(places: places)
    }
    settings.limits.maxClients = maxClients
    // A backlog of none is what libvirt turns into 30.
    settings.limits.maxQueuedClients = maxQueuedClients == 0 ? 30 : maxQueuedClients
    settings.limits.maxAnonymousClients = maxAnonymousClients
    settings.limits.maxClientRequests = maxClientRequests
    settings.limits.maxClientsPerIdentity = maxClientsPerIdentity
    settings.limits.maxClientsPerAddress = maxClientsPerAddress
    settings.timeouts.loginSeconds = Double(authTimeout)
    settings.timeouts.openSeconds = Double(openTimeout)
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
    // A user's daemon has no read-only socket: nobody else could reach it.
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

  /// How clients of a UNIX socket log in. libvirt's daemons are built with polkit, and root's ask it unless told
  /// otherwise; nobody but a user comes to the user's own.
  func unixAuthentication(readOnly: Bool, _ places: Places) -> Authentication {
    (readOnly ? authUnixReadOnly : authUnixReadWrite) ?? (places.isRoot ? .polkit : .none)
  }

  /// Where polkit decides who may come in, the socket lets everybody ask.
  func readWriteMode(_ places: Places) -> UInt32 {
    readWriteMode
      ?? (unixAuthentication(readOnly: false, places) == .polkit ? 0o777 : 0o700)
  }

  /// Beside the others. Whatever its group and permissions are, only the user that runs the broker is served there.
  private func adminListener(
    places: Places, names: SocketNames, group: UInt32?
  ) -> ListenerSettings {
    let directory = socketDirectory ?? places.runtimeDirectory
    var listener = ListenerSettings(
      .unix(path: "\(directory)/\(names.admin)", mode: adminMode, group: group))
    listener.isAdmin = true
    return listener
  }

  /// The number of the sockets' group: by name first, then as a number; `+5` is a number for sure.
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

/// The bytes of a file, nil if it is missing and may be. More than 10 MiB is no configuration.
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
