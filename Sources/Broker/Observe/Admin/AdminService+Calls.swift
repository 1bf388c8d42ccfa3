// libvirt's admin interface, call by call.
import Streams

extension AdminService {
  /// A server in the interface's terms. libvirt's daemons have the main server and the admin server.
  enum Server: String, CaseIterable {
    /// virtproxyd's name for it, for existing scripts.
    case main = "virtproxyd"
    case admin
  }

  /// libvirt 9.0.0, the version of this interface.
  private static let libraryVersion: UInt64 = 9_000_000

  func result(
    of call: AdminCall, for session: AdminSession
  ) throws(RemoteError) -> (any XDRBody)? {
    switch call {
    case .open(let flags):
      try refuse(flags, "adminDispatchConnectOpen")
      return nil
    case .close:
      session.leave()
      return nil
    case .libraryVersion: return AdminVersion(number: AdminService.libraryVersion)
    case .listServers(let wantsList, let flags):
      try refuse(flags, "adminConnectListServers")
      return AdminList(
        Server.allCases.map { AdminServer(name: $0.rawValue) }, wantsElements: wantsList)
    case .lookUpServer(let name, _): return AdminServer(name: try server(name).rawValue)
    case .threadPool(let name, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerGetThreadPoolParameters")
      return AdminParameters(threadPool(of: server))
    case .setThreadPool(let name, let parameters, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerSetThreadPoolParameters")
      try setThreadPool(of: server, parameters)
      return nil
    case .listClients(let name, let wantsList, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerListClients")
      return try listClients(of: server, wantsList: wantsList)
    case .lookUpClient(let name, let id, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerLookupClient")
      return try client(id, of: server).entry
    case .clientInfo(let client, let flags):
      let found = try clientToInspect(client)
      try refuse(flags, "adminClientGetInfo")
      return AdminParameters(found.info)
    case .closeClient(let client, let flags):
      let found = try self.client(client.id, of: try server(client.server))
      try refuse(flags, "adminClientClose")
      found.close()
      return nil
    case .clientLimits(let name, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerGetClientLimits")
      return AdminParameters(clientLimits(of: server))
    case .setClientLimits(let name, let parameters, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerSetClientLimits")
      try setClientLimits(of: server, parameters)
      return nil
    case .logOutputs(let flags):
      try refuse(flags, "adminConnectGetLoggingOutputs")
      let outputs = try steering().outputs()
      return AdminLogOutputs(text: outputs.text, count: UInt32(clamping: outputs.count))
    case .logFilters(let flags):
      try refuse(flags, "adminConnectGetLoggingFilters")
      let filters = try steering().filters()
      return AdminLogFilters(
        text: filters.count == 0 ? nil : filters.text, count: UInt32(clamping: filters.count))
    case .setLogOutputs(let text, let flags):
      try refuse(flags, "adminConnectSetLoggingOutputs")
      try change("log_outputs", to: text, by: try steering().setOutputs)
      return nil
    case .setLogFilters(let text, let flags):
      try refuse(flags, "adminConnectSetLoggingFilters")
      try change("log_filters", to: text, by: try steering().setFilters)
      return nil
    case .updateTLS(let name, let flags):
      let server = try server(name)
      try refuse(flags, "adminServerUpdateTlsFiles")
      try updateTLS(of: server)
      return nil
    case .setTimeout(let seconds, let flags):
      try refuse(flags, "adminConnectSetDaemonTimeout")
      broker.setIdleSeconds(Int(seconds))
      broker.log[.admin].write(.timeoutChanged, [session.name, seconds])
      return nil
    case .shutDown(let flags):
      // Bit 0 requests the daemon to preserve its state. A broker has none.
      try refuse(flags & ~1, "adminConnectDaemonShutdown")
      isStopWanted = true
      return nil
    }
  }

  /// No call has flags so far. This error has another form than all others.
  private func refuse(_ flags: UInt32, _ function: String) throws(RemoteError) {
    guard flags != 0 else { return }
    var error = RemoteError(.invalidArgument, domain: .admin, "", int1: 0, int2: 0)
    error.message = Message(.unsupportedAdminFlags, [String(flags, radix: 16), function]).text
    error.str1 = function
    error.str2 = "flags"
    throw error
  }

  private func server(_ name: String) throws(RemoteError) -> Server {
    guard let server = Server(rawValue: name) else {
      throw RemoteError(.noServer, .noSuchServer, [name])
    }
    return server
  }

  // MARK: Threads

  /// The admin server is busy with this very call. The main one is idle, because this thread is its only one.
  private func threadPool(of server: Server) -> [TypedParameter] {
    switch server {
    case .main: threadPools.main.parameters(busy: 0)
    case .admin: threadPools.admin.parameters(busy: 1)
    }
  }

  private func setThreadPool(
    of server: Server, _ parameters: [TypedParameter]
  ) throws(RemoteError) {
    let wanted = try numbers(parameters, of: ThreadPoolReport.changeable)
    switch server {
    case .main: try threadPools.main.change(wanted)
    case .admin: try threadPools.admin.change(wanted)
    }
  }

  /// Parameters that must be numbers, by their names.
  private func numbers(
    _ parameters: [TypedParameter], of names: Set<String>
  ) throws(RemoteError) -> [String: UInt32] {
    var values: [String: UInt32] = [:]
    for parameter in parameters {
      let field = parameter.field
      guard names.contains(field) else {
        throw RemoteError(
          .argumentUnsupported, domain: .none, .parameterNotSupported, [field])
      }
      guard case .uint(let value) = parameter.value else {
        throw RemoteError(
          .invalidArgument, domain: .none, .parameterTypeInvalid,
          [parameter.value.typeName, field, "uint"])
      }
      guard values.updateValue(value, forKey: field) == nil else {
        throw RemoteError(
          .invalidArgument, domain: .none, .adminParameterRepeated, [field])
      }
    }
    return values
  }

  // MARK: Limits

  private func clientLimits(of server: Server) -> [TypedParameter] {
    let limits = broker.settings.limits
    let numbers =
      switch server {
      case .main:
        [
          limits.maxClients, broker.sessions.count, limits.maxAnonymousClients,
          broker.acceptor.unauthenticatedCount,
        ]
      case .admin: [settings.maxClients, sessions.count, maxAnonymousClients, 0]
      }
    let names = ["nclients_max", "nclients", "nclients_unauth_max", "nclients_unauth"]
    return zip(names, numbers).map { TypedParameter($0, .uint(UInt32(clamping: $1))) }
  }

  private func setClientLimits(
    of server: Server, _ parameters: [TypedParameter]
  ) throws(RemoteError) {
    let names = (most: "nclients_max", unauthenticatedCount: "nclients_unauth_max")
    let wanted = try numbers(parameters, of: [names.most, names.unauthenticatedCount])
    let limits = broker.settings.limits
    let there =
      server == .main
      ? (most: limits.maxClients, unauthenticatedCount: limits.maxAnonymousClients)
      : (most: settings.maxClients, unauthenticatedCount: maxAnonymousClients)
    let most = wanted[names.most].map { Int($0) } ?? there.most
    let unauthenticatedCount =
      wanted[names.unauthenticatedCount].map { Int($0) } ?? there.unauthenticatedCount
    guard unauthenticatedCount <= most else {
      throw RemoteError(
        .invalidArgument, .limitAboveLimit,
        [names.unauthenticatedCount, unauthenticatedCount, names.most, most])
    }
    switch server {
    case .main: broker.setLimits(maxClients: most, maxAnonymousClients: unauthenticatedCount)
    case .admin:
      guard most > 0 else {
        throw RemoteError(.invalidArgument, .adminLimitOfZero)
      }
      settings.maxClients = most
      maxAnonymousClients = unauthenticatedCount
      limitChanged()
    }
  }

  // MARK: The daemon

  private func steering() throws(RemoteError) -> LogSteering {
    guard let steering = broker.logSteering else {
      throw RemoteError(.operationUnsupported, domain: .admin, .logNotChangeable)
    }
    return steering
  }

  private func change(
    _ what: String, to text: String?, by set: (String?) -> BrokerFailure?
  ) throws(RemoteError) {
    if let failure = set(text) {
      throw RemoteError(.invalidArgument, domain: .none, failure.message)
    }
    broker.log[.admin].write(.logSettingChanged, [what, String((text ?? "").prefix(1000))])
  }

  private func updateTLS(of server: Server) throws(RemoteError) {
    guard server == .main, broker.tlsStatus != nil else {
      throw RemoteError(.internalError, .noTLSService)
    }
    if let reason = broker.renewCertificates(because: Message(.reloadByAdministrator)) {
      throw RemoteError(.systemError, .newCertificatesRefused, [reason])
    }
  }
}
