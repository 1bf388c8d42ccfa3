// The places of brokers' admin sockets, to find the default one and to name the others.
@preconcurrency import Glibc
import Streams

/// The admin sockets that one user's brokers may have.
struct AdminSockets {
  /// Beside a libvirtd the broker's sockets have their own names.
  private static let system = "/run/libvirt"
  private static let names = ["virtbroker-admin-sock", "libvirt-admin-sock"]

  /// The directories in search order; the first is where this user's broker has its socket.
  let directories: [String]

  static func ofThisUser() -> AdminSockets {
    func variable(_ name: String) -> String? {
      getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    let cache = variable("HOME").map { "\($0)/.cache/libvirt" }
    let runtime = variable("XDG_RUNTIME_DIR").map { "\($0)/libvirt" }
    if geteuid() == 0 {
      // Root may use the sockets of other users' brokers.
      let users = AdminSockets.entries(of: "/run/user").map { "/run/user/\($0)/libvirt" }
      return AdminSockets(directories: [system] + users + [cache].compactMap { $0 })
    }
    return AdminSockets(
      directories: [runtime ?? cache, runtime == nil ? nil : cache, system].compactMap { $0 })
  }

  var usual: String {
    let directory = directories.first ?? AdminSockets.system
    let own = "\(directory)/\(AdminSockets.names[0])"
    return AdminSockets.exists(own) ? own : "\(directory)/\(AdminSockets.names[1])"
  }

  /// Advice for a default socket that cannot be used.
  var hint: Message {
    let others = directories.flatMap { directory in
      AdminSockets.names.map { "\(directory)/\($0)" }
    }.filter { $0 != usual && AdminSockets.exists($0) }
    guard !others.isEmpty else { return Message(.trySocketOption) }
    let list = others.map { path in
      let isRoots = geteuid() != 0 && path.hasPrefix(AdminSockets.system)
      return "--socket '\(printable(path))'\(isRoots ? " as root" : "")"
    }.joined(separator: " or ")
    return Message(.tryOtherSocket, [list])
  }

  private static func exists(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }

  private static func entries(of directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream), names.count < 100 {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
}
