// Default paths of the daemon's files, for root and for a user.
@preconcurrency import Glibc

/// The default paths of one user's daemon, as libvirt lays them out.
struct Places: Sendable, Equatable {
  let isRoot: Bool
  let home: String
  let configurationFile: String
  /// The sockets' directory; created at start if it is missing.
  let runtimeDirectory: String
  let pidFile: String
  /// The log file if there is neither a terminal nor a journal.
  let logFile: String

  /// A directory in which root's daemon may still write as another user.
  static let userRuntimeDirectory = "/run/virtbroker"

  /// `home` is used only if the environment has no better answer.
  init(isRoot: Bool, environment: [String: String], home: String) {
    self.isRoot = isRoot
    self.home = home
    if isRoot {
      configurationFile = "/etc/libvirt/virtbrokerd.conf"
      runtimeDirectory = "/run/libvirt"
      pidFile = "/run/virtbrokerd.pid"
      logFile = "/var/log/libvirt/virtbrokerd.log"
      return
    }
    func directory(_ variable: String, else fallback: String) -> String {
      let base = environment[variable].flatMap { $0.isEmpty ? nil : $0 }
      return (base ?? "\(home)/\(fallback)") + "/libvirt"
    }
    configurationFile = directory("XDG_CONFIG_HOME", else: ".config") + "/virtbrokerd.conf"
    runtimeDirectory = directory("XDG_RUNTIME_DIR", else: ".cache")
    pidFile = "\(runtimeDirectory)/virtbrokerd.pid"
    logFile = directory("XDG_CACHE_HOME", else: ".cache") + "/log/virtbrokerd.log"
  }

  /// The places of the user that runs this process.
  static func ofThisProcess() -> Places {
    let environment = Places.environment([
      "HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME",
    ])
    let home = environment["HOME"] ?? getpwuid(geteuid()).map { String(cString: $0.pointee.pw_dir) }
    return Places(isRoot: geteuid() == 0, environment: environment, home: home ?? "/")
  }

  /// Those of `names` that are set in this process's environment and not empty.
  static func environment(_ names: [String]) -> [String: String] {
    var values: [String: String] = [:]
    for name in names {
      guard let value = getenv(name), value.pointee != 0 else { continue }
      values[name] = String(cString: value)
    }
    return values
  }
}

/// `path` in the form that stays valid after the daemon has left its working directory.
func absolute(_ path: String) -> String {
  guard !path.hasPrefix("/"), let directory = getcwd(nil, 0) else { return path }
  defer { free(directory) }
  return "\(String(cString: directory))/\(path)"
}

/// Creates `path` and its missing parents, each with `mode`. Existing directories stay as they are.
func makeDirectories(_ path: String, mode: mode_t) -> Bool {
  if mkdir(path, mode) == 0 || errno == EEXIST { return true }
  guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex else {
    return false
  }
  guard makeDirectories(String(path[..<slash]), mode: mode) else { return false }
  return mkdir(path, mode) == 0 || errno == EEXIST
}
