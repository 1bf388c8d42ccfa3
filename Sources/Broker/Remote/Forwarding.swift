// Opening other hosts for clients: which hosts, and by which transport.
import Glibc
import Streams

/// The policy, and the state that all forwarded connections share.
final class Forwarding {
  /// Applied when a connection is opened; those that are open or opening are not checked again.
  var settings: UpstreamSettings
  /// The mark by which this broker recognises itself at the far end of a connection.
  let mark = Mark.random()
  private let directory: SocketDirectory
  let log: BrokerLog
  private let ownAddresses: () -> [Address]
  /// Credentials in use, with the state of their files when they were read.
  private var loaded: [(settings: TLSSettings, looks: [FileLook], credentials: TLSCredentials)] = []
  let buffers = TLSBuffers()

  /// - Parameter ownAddresses: the addresses on which this broker listens.
  init(
    _ settings: UpstreamSettings, directory: SocketDirectory, log: BrokerLog,
    ownAddresses: @escaping () -> [Address]
  ) {
    self.settings = settings
    self.directory = directory
    self.log = log
    self.ownAddresses = ownAddresses
  }

  // MARK: Policy

  /// The backend on the host that a client's URI names. Nil: the URI names no host.
  func backend(for name: String?, readOnly: Bool) -> Result<Backend?, RemoteError> {
    guard let name else { return .success(nil) }
    return RemoteURI.parse(name).flatMap { uri in
      guard let uri else { return .success(nil) }
      return destination(of: uri, readOnly: readOnly).map { destination in
        Backend(
          daemon: "the daemon", path: destination.place,
          uri: uri.name(through: uri.marks + [mark]), servesAll: true, remote: destination)
      }
    }
  }

  /// Why a client may not open a host: this host, or one that another host would open for it.
  private func objection(to uri: RemoteURI) -> RemoteError? {
    guard settings.allowed.contains(where: { $0.allows(uri) }) else {
      return RemoteError(
        .configurationUnsupported, Message(.hostNotAllowed, [Forwarding.place(uri)]))
    }
    if let user = uri.user {
      guard uri.transport == .ssh else {
        return RemoteError(
          .configurationUnsupported, Message(.hostUserNotUsed, [uri.transport.rawValue, user]))
      }
      if let fixed = values(for: uri)["user"], fixed != user {
        return RemoteError(
          .configurationUnsupported, Message(.hostUserFixed, [user, uri.host]))
      }
    }
    guard case .remote(let next) = uri.target else { return nil }
    return objection(to: next)
  }

  private func destination(of uri: RemoteURI, readOnly: Bool) -> Result<Destination, RemoteError> {
    let place = Forwarding.place(uri)
    if let error = objection(to: uri) { return .failure(error) }
    guard !uri.marks.contains(mark) else {
      return failure(.hostLedBack, [place])
    }
    guard uri.marks.count < RemoteURI.mostMarks else {
      return failure(.hostTooManyBrokers, [place, uri.marks.count])
    }
    let values = values(for: uri)
    let way: Destination.Way
    switch uri.transport {
    case .tcp: way = .network(nil)
    case .tls: way = .network(tls(values))
    case .unix:
      guard let path = values["socket"] else { return missing("socket", uri) }
      guard !directory.isOwn(path) else {
        return failure(.hostIsThisBroker, [place])
      }
      way = .socket(path: path)
    case .ext:
      guard let command = values["command"] else { return missing("command", uri) }
      way = .command(arguments: [command])
    case .ssh: way = .command(arguments: ssh(uri, values, readOnly).arguments)
    }
    return .success(
      Destination(
        way: way, host: uri.host, port: uri.port ?? uri.transport.usualPort ?? 0, place: place,
        marks: [mark] + uri.marks, authFile: values["authfile"]))
  }

  /// The values of parameters for a URI. For each parameter the first matching rule counts.
  private func values(for uri: RemoteURI) -> [String: String] {
    settings.rules.filter { $0.pattern.concerns(uri) }
      .reduce(into: [:]) { values, rule in values.merge(rule.values) { first, _ in first } }
  }

  private func tls(_ values: [String: String]) -> Destination.TLSWish {
    let files =
      values["pkipath"].map { UpstreamCertificates(directory: $0) } ?? settings.certificates
    // libvirt's clients do without a certificate if there is none; the other side has to accept that.
    let hasPair = access(files.certificateFile, F_OK) == 0 || access(files.keyFile, F_OK) == 0
    var tls = TLSSettings(
      pairs: hasPair
        ? [TLSSettings.Pair(certificateFile: files.certificateFile, keyFile: files.keyFile)] : [],
      authorityFile: files.authorityFile, revocationFile: files.revocationFile)
    tls.mayLackRevocationFile = true
    tls.checksOwnCertificates = values["no_sanity"] != "1"
    tls.priority = values["tls_priority"]
    return Destination.TLSWish(settings: tls, verifies: values["no_verify"] != "1")
  }

  private func ssh(
    _ uri: RemoteURI, _ values: [String: String], _ readOnly: Bool
  ) -> SSHCommand {
    var command = SSHCommand(
      user: values["user"] ?? uri.user, host: uri.host, port: uri.port,
      socket: values["socket"] ?? "/var/run/libvirt/libvirt-sock\(readOnly ? "-ro" : "")",
      uri: uri.name(through: []), isReadOnly: readOnly)
    if let program = values["command"] { command.program = program }
    command.keyFile = values["keyfile"]
    command.knownHosts = values["known_hosts"]
    switch values["known_hosts_verify"] {
    case "normal": command.hostKeys = "yes"
    case "auto": command.hostKeys = "accept-new"
    case "ignore": command.hostKeys = "no"
    default: break
    }
    if values["no_verify"] == "1" { command.hostKeys = "no" }
    if let netcat = values["netcat"] { command.netcat = netcat }
    let proxy = values["proxy"].flatMap(SSHCommand.Proxy.init(rawValue:)) ?? .auto
    if proxy == .auto, values["socket"] != nil || values["netcat"] != nil {
      command.proxy = .netcat
    } else if proxy == .auto, uri.isSession {
      // Only the other host knows the socket's place of a user's own daemon.
      command.proxy = .native
    } else {
      command.proxy = proxy
    }
    return command
  }

  private func missing(_ parameter: String, _ uri: RemoteURI) -> Result<Destination, RemoteError> {
    failure(.hostParameterMissing, [uri.transport.rawValue, uri.host, parameter])
  }

  private func failure(
    _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible]
  ) -> Result<Destination, RemoteError> {
    .failure(RemoteError(.configurationUnsupported, Message(definition, arguments)))
  }

  private static func place(_ uri: RemoteURI) -> String {
    let host = uri.host.contains(":") ? "[\(uri.host)]" : uri.host
    let port = (uri.port ?? uri.transport.usualPort).map { ":\($0)" } ?? ""
    return "\(uri.transport.rawValue)://\(host)\(port)"
  }

  // MARK: Loops

  /// Whether connecting there would lead to a listener of this broker.
  func leadsHere(_ address: Address) -> Bool {
    guard let port = address.port else { return false }
    return ownAddresses().contains { own in
      own.port == port
        && own.host?.count == address.host?.count
        && (own.host == address.host || (own.isWildcard && address.isOfThisMachine))
    }
  }

  // MARK: Certificates

  /// Reads the files again only when one has changed.
  func credentials(_ settings: TLSSettings) throws(TLSCredentialsError) -> TLSCredentials {
    let looks = settings.files.map { FileLook($0) }
    if let known = loaded.first(where: { $0.settings == settings && $0.looks == looks }) {
      return known.credentials
    }
    let old = loaded.first { $0.settings == settings }?.credentials.revocations
    let made = try TLSCredentials(
      TLSFileSet(settings, as: .client, at: TLSAcceptor.now, keeping: old), settings)
    for warning in made.warnings { log.write(warning) }
    loaded.removeAll { $0.settings == settings }
    if loaded.count >= Forwarding.mostLoaded { loaded.removeFirst() }
    loaded.append((settings, looks, made))
    return made
  }

  private static let mostLoaded = 64
}
