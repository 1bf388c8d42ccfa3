// Which backend daemon serves what, and where its socket is.
import Glibc
import Streams

/// A daemon's socket to connect to, and the URI to open there.
struct Backend: Equatable {
  /// `virtqemud`, `virtstoraged`, ..., or `libvirtd`.
  var daemon: String
  var path: String
  /// What to open; empty lets the daemon choose.
  var uri: String
  /// The daemon serves every driver itself, so no call goes elsewhere.
  var servesAll: Bool
  var isSession = false
}

/// Finds daemons by the files in the socket directories, as libvirt's client does.
struct SocketDirectory {
  let settings: BackendSettings
  let isPrivileged: Bool
  /// What the broker itself listens on, often in the same directory: a backend's place in which no backend
  /// is. Connecting there, it would open itself without end.
  let ownSockets: [String]

  init(settings: BackendSettings, isPrivileged: Bool, ownSockets: [String] = []) {
    self.settings = settings
    self.isPrivileged = isPrivileged
    self.ownSockets = ownSockets
  }

  /// Hypervisor daemons without drivers for storage and so on of their own: they would pass such calls
  /// on to the other daemons, so the broker does that itself.
  private static let schemesWithoutOwnDrivers: Set<String> = ["qemu", "xen", "lxc", "bhyve", "ch"]

  /// libvirt's order for a client that does not say what it wants.
  private static let probed =
    (privileged: ["xen", "qemu", "lxc", "vbox", "bhyve", "vz"], perUser: ["qemu", "vbox"])

  private func directory(session: Bool) -> String {
    session && !isPrivileged
      ? settings.sessionDirectory ?? settings.systemDirectory : settings.systemDirectory
  }

  private func socketPath(_ daemon: String, readOnly: Bool, session: Bool) -> String {
    let base = "\(directory(session: session))/\(daemon == "libvirtd" ? "libvirt" : daemon)-sock"
    // A daemon that grants only reading does so whichever socket is used; this one makes it certain.
    if readOnly, exists(base + "-ro") { return base + "-ro" }
    return base
  }

  private func exists(_ path: String) -> Bool {
    guard let file = File(path) else { return false }
    return !ownSockets.contains { File($0) == file }
  }

  /// What a path leads to, by whatever name.
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

  /// The daemon that opens `name` (nil or empty: whichever is there).
  func backend(for name: String?, readOnly: Bool) -> Result<Backend, RemoteError> {
    guard let name, !name.isEmpty else { return probe(readOnly: readOnly) }
    switch ConnectURI.parse(name) {
    case .failure(let error): return .failure(error)
    case .success(let uri):
      let daemon = "virt\(uri.scheme)d"
      let modular = socketPath(daemon, readOnly: readOnly, session: uri.isSession)
      if exists(modular) {
        return .success(
          Backend(
            daemon: daemon, path: modular, uri: uri.text,
            servesAll: !SocketDirectory.schemesWithoutOwnDrivers.contains(uri.scheme),
            isSession: uri.isSession))
      }
      let whole = socketPath("libvirtd", readOnly: readOnly, session: uri.isSession)
      guard exists(whole) else { return .failure(unreachable(modular, ENOENT)) }
      return .success(Backend(daemon: "libvirtd", path: whole, uri: uri.text, servesAll: true))
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
    let whole = socketPath("libvirtd", readOnly: readOnly, session: true)
    guard exists(whole) else { return .failure(RemoteError(.internalError, "connection not open")) }
    return .success(Backend(daemon: "libvirtd", path: whole, uri: "", servesAll: true))
  }

  /// The daemon of a driver's own, if it is there, for a client that opened `main`.
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
    guard exists(path) else { return nil }
    return Backend(
      daemon: "virt\(scheme)d", path: path,
      uri: "\(scheme):///\(main.isSession && !isPrivileged ? "session" : "system")",
      servesAll: false)
  }

  /// libvirt's words for a daemon that cannot be reached.
  func unreachable(_ path: String, _ number: Int32) -> RemoteError {
    RemoteError(
      .systemError, "Failed to connect socket to '\(path)': \(errorText(number))", int1: number)
  }
}
