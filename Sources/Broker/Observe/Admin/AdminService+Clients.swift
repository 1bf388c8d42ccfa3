// What the admin interface reports about one client, of either server.
import Streams

extension AdminService {
  /// A client, as an administrator sees it.
  struct Client {
    let entry: AdminClient
    let info: [TypedParameter]
    let close: () -> Void
  }

  func client(_ id: UInt64, of server: Server) throws(RemoteError) -> Client {
    guard let found = find(id, of: server) else {
      throw RemoteError(.noClient, .noSuchClient, [id])
    }
    return found
  }

  /// The call that reports most about a client has its own text for a missing client.
  func clientToInspect(_ client: AdminClient) throws(RemoteError) -> Client {
    guard let server = Server(rawValue: client.server) else {
      throw RemoteError(
        .noServer, domain: .admin, .noMatchingServer, [client.server])
    }
    guard let found = find(client.id, of: server) else {
      throw RemoteError(
        .noClient, domain: .admin, .noMatchingClient, [client.id])
    }
    return found
  }

  private func find(_ id: UInt64, of server: Server) -> Client? {
    switch server {
    case .main:
      broker.sessions[id].map { session in
        Client(entry: entry(session), info: info(session)) {
          session.finish(because: Message(.closedByAdministrator))
        }
      }
    case .admin:
      sessions[id].map { session in
        Client(
          entry: entry(session),
          info: [TypedParameter("readonly", .boolean(false))] + info(of: session.identity)
        ) { session.finish(because: Message(.closedByAdministrator)) }
      }
    }
  }

  func listClients(
    of server: Server, wantsList: Bool
  ) throws(RemoteError) -> AdminList<AdminClient> {
    let entries =
      switch server {
      case .main: broker.sessions.all.map { entry($0) }
      case .admin: sessions.values.map { entry($0) }
      }
    guard entries.count <= Limits.adminList else {
      throw RemoteError(
        .rpc, .tooManyClientsForList, [entries.count, Limits.adminList])
    }
    return AdminList(entries.sorted { $0.id < $1.id }, wantsElements: wantsList)
  }

  private func entry(_ session: ClientSession) -> AdminClient {
    AdminClient(
      server: Server.main.rawValue, id: session.id, connectedAt: session.source.connectedAt,
      transport: session.adminTransport)
  }

  private func entry(_ session: AdminSession) -> AdminClient {
    AdminClient(
      server: Server.admin.rawValue, id: session.id, connectedAt: session.connectedAt,
      transport: AdminClient.unix)
  }

  private func info(_ session: ClientSession) -> [TypedParameter] {
    var parameters = [TypedParameter("readonly", .boolean(session.isReadOnly))]
    if let user = session.identity.saslUser {
      parameters.append(TypedParameter("sasl_user_name", .string(user)))
    }
    if session.identity.peer == nil {
      if let address = session.source.address {
        parameters.append(TypedParameter("sock_addr", .string(address)))
      }
      if let name = session.identity.distinguishedName {
        parameters.append(TypedParameter("tls_x509_dname", .string(name)))
      }
    }
    return parameters + info(of: session.identity)
  }

  /// The kernel's information about a local client.
  private func info(of identity: VerifiedIdentity) -> [TypedParameter] {
    guard let peer = identity.peer else { return [] }
    var parameters: [TypedParameter] = []
    func add(_ field: String, _ value: String?) {
      if let value { parameters.append(TypedParameter(field, .string(value))) }
    }
    parameters.append(TypedParameter("unix_user_id", .int(Int32(bitPattern: peer.uid))))
    add("unix_user_name", identity.names?.user)
    parameters.append(TypedParameter("unix_group_id", .int(Int32(bitPattern: peer.gid))))
    add("unix_group_name", identity.names?.group)
    parameters.append(TypedParameter("unix_process_id", .int(peer.pid)))
    add("selinux_context", peer.selinuxContext)
    return parameters
  }
}

extension ClientSession {
  /// The transport's number in the interface.
  var adminTransport: UInt32 {
    switch source.transportName {
    case "tls": AdminClient.tls
    case "unix": AdminClient.unix
    default: AdminClient.tcp
    }
  }
}
