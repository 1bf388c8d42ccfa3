// Which backend daemon serves a URI, and the place of its socket.
import Glibc
import Streams

/// A daemon's socket, and the URI to open there.
struct Backend: Equatable {
  /// `virtqemud`, `virtstoraged`, ..., or `libvirtd`.
  var daemon: String
  var path: String
  /// The URI to open; empty: the daemon chooses.
  var uri: String
  /// The daemon serves every driver itself, so no call goes to another daemon.
  var servesAll: Bool
  var isSession = false
  /// The program to start if no process serves the socket: a user's own daemon.
  var program: String?
  /// The daemon is on another host, which gets all of its calls.
  var remote: Destination?

  /// For the log.
  var name: String { "\(daemon) at \(path)" }
}

/// Finds daemons by the files in the socket directories, as libvirt's client does.
struct SocketDirectory {
  let settings: BackendSettings
  let isPrivileged: Bool
  /// The broker's own listening sockets, often in the same directory. A backend's name may lead to one of them, and a
  /// connection there would make the broker open itself without end.
  let ownSockets: [String]

  init(settings: BackendSettings, isPrivileged: Bool, ownSockets: [String] = []) {
    self.settings = settings
    self.isPrivileged = isPrivileged
    self.ownSockets = ownSockets
  }

  /// Hypervisor daemons without their own drivers for storage and so on. They would pass such calls on to other
  /// daemons, so the broker does that itself.
  private static let schemesWithoutOwnDrivers: Set<String> = ["qemu", "xen", "lxc", "bhyve", "ch"]

  /// libvirt's search order for a client that sends no URI.
  private static let probed =
    (privileged: ["xen", "qemu", "lxc", "vbox", "bhyve", "vz"], perUser: ["qemu", "vbox"])

  private func directory(session: Bool) -> String {
    session && !isPrivileged
      ? settings.sessionDirectory ?? settings.systemDirectory : settings.systemDirectory
  }

  private func socketPath(_ daemon: String, readOnly: Bool, session: Bool) -> String {
    let base = "\(directory(session: session))/\(daemon == "libvirtd" ? "libvirt" : daemon)-sock"
    // A daemon that grants read-only access does so on either socket; this one makes it certain.
    if readOnly, exists(base + "-ro") { return base + "-ro" }
    return base
  }

  private func exists(_ path: String) -> Bool { File(path) != nil && !isOwn(path) }

  /// Whether a path leads to one of the broker's own sockets.
  func isOwn(_ path: String) -> Bool {
    guard let file = File(path) else { return false }
    return ownSockets.contains { File($0) == file }
  }

  /// The file that a path leads to, under whatever name.
  private struct File: Equatable {
    let device: dev_t
    let number: ino_t

    init?(_ path: String) {
      var status = stat()
      guard stat(path, &status) == 0 else { return nil }
      device = status.st_dev
      number = status.st_ino
    }
  }

  /// The daemon that opens `name` (nil or empty: the first that is found).
  func backend(for name: String?, readOnly: Bool) -> Result<Backend, RemoteError> {
    guard let name, !name.isEmpty else { return probe(readOnly: readOnly) }
    switch ConnectURI.parse(name) {
    case .failure(let error): return .failure(error)
    case .success(let uri):
      let daemon = "virt\(uri.scheme)d"
      let modular = socketPath(daemon, readOnly: readOnly, session: uri.isSession)
      let program = program(of: daemon, session: uri.isSession)
      if exists(modular) || program != nil && !isOwn(modular) {
        return .success(
          Backend(
            daemon: daemon, path: modular, uri: uri.text,
            servesAll: !SocketDirectory.schemesWithoutOwnDrivers.contains(uri.scheme),
            isSession: uri.isSession, program: program))
      }
      if let whole = whole(uri: uri.text, readOnly: readOnly, session: uri.isSession) {
        return .success(whole)
      }
      return .failure(
        ConnectURI.libraryDrivers.contains(uri.scheme)
          ? RemoteError(.noConnect, .libraryDriver, [uri.text])
          : unreachable(modular, ENOENT))
    }
  }

  private func probe(readOnly: Bool) -> Result<Backend, RemoteError> {
    let schemes = isPrivileged ? SocketDirectory.probed.privileged : SocketDirectory.probed.perUser
    for scheme in schemes {
      let path = socketPath("virt\(scheme)d", readOnly: readOnly, session: true)
      if exists(path) {
        return backend(
          for: "\(scheme):///\(isPrivileged ? "system" : "session")", readOnly: readOnly)
      }
    }
    if let scheme = schemes.first(where: { program(of: "virt\($0)d", session: true) != nil }) {
      return backend(for: "\(scheme):///session", readOnly: readOnly)
    }
    return whole(uri: "", readOnly: readOnly, session: true).map { .success($0) }
      ?? .failure(RemoteError(.internalError, .connectionNotOpen))
  }

  /// The daemon that serves every driver, if it runs or can be started.
  private func whole(uri: String, readOnly: Bool, session: Bool) -> Backend? {
    let path = socketPath("libvirtd", readOnly: readOnly, session: session)
    let program = program(of: "libvirtd", session: session)
    guard exists(path) || program != nil && !isOwn(path) else { return nil }
    return Backend(
      daemon: "libvirtd", path: path, uri: uri, servesAll: true, isSession: session,
      program: program)
  }

  /// The program to start for a user's own URIs. The system's daemons serve root's, and the broker does not start
  /// those.
  private func program(of daemon: String, session: Bool) -> String? {
    guard session, !isPrivileged, let programs = settings.programs, programs.starts else {
      return nil
    }
    return programs.path(of: daemon)
  }

  /// The separate daemon of a driver, if there is one, for a client that opened `main`.
  func backend(for driver: Driver, beside main: Backend, readOnly: Bool) -> Backend? {
    guard !main.servesAll else { return nil }
    let scheme: String
    switch driver {
    case .hypervisor, .proxy: return nil
    case .storage: scheme = "storage"
    case .network: scheme = "network"
    case .nodeDevice: scheme = "nodedev"
    case .interface: scheme = "interface"
    case .secret: scheme = "secret"
    case .nwfilter: scheme = "nwfilter"
    }
    let path = socketPath("virt\(scheme)d", readOnly: readOnly, session: main.isSession)
    let program = program(of: "virt\(scheme)d", session: main.isSession)
    guard exists(path) || program != nil else { return nil }
    return Backend(
      daemon: "virt\(scheme)d", path: path,
      uri: "\(scheme):///\(main.isSession && !isPrivileged ? "session" : "system")",
      servesAll: false, program: program)
  }

  /// libvirt's error for a daemon that cannot be reached.
  func unreachable(_ path: String, _ number: Int32) -> RemoteError {
    RemoteError(.systemError, .cannotConnect, [path, errorText(number)], int1: number)
  }
}
