// What the broker's UNIX sockets are called: libvirt's own names, unless these are somebody else's.
import Broker
@preconcurrency import Glibc
import Streams

/// The names of the sockets in their directory. Decided once, at the start.
struct SocketNames: Equatable, Sendable {
  let readWrite: String
  let readOnly: String
  let admin: String
  /// Why they are not libvirt's.
  var reason: Message?

  private init(_ stem: String) {
    readWrite = "\(stem)-sock"
    readOnly = "\(stem)-sock-ro"
    admin = "\(stem)-admin-sock"
  }

  /// Those that clients look for, which are the broker's on a host with modular daemons.
  static let usual = SocketNames("libvirt")
  /// Those beside a libvirtd.
  static let own = SocketNames("virtbroker")

  /// Looks who has libvirt's names in a directory. `isUsual`: it is the one a libvirtd of this user would take as
  /// well, and would clear of whatever is there.
  static func choose(in directory: String, isUsual: Bool, programs: DaemonPrograms) -> SocketNames {
    for name in [usual.readWrite, usual.readOnly, usual.admin] {
      let path = "\(directory)/\(name)"
      if isServed(path) { return own(because: .socketNameInUse, path) }
    }
    if isUsual, programs.isMonolithic, !hasModularSockets(directory) {
      return own(because: .socketNamesOfLibvirtd, directory)
    }
    return usual
  }

  /// A modular daemon has been here, whatever is installed.
  private static func hasModularSockets(_ directory: String) -> Bool {
    ["qemu", "xen", "lxc", "vbox", "ch", "bhyve", "vz"].contains {
      isSocket("\(directory)/virt\($0)d-sock")
    }
  }

  private static func own(because reason: MessageDefinition, _ path: String) -> SocketNames {
    var names = own
    names.reason = Message(reason, [path, own.readWrite, own.readOnly, own.admin])
    return names
  }

  /// Whether a process serves the socket, which can also be missing or left over.
  private static func isServed(_ path: String) -> Bool {
    var status = stat()
    guard lstat(path, &status) == 0, isSocket(path) else { return false }
    // A connection could have the service manager start what is to serve it: the kernel's list comes first.
    if listening(at: path) { return true }
    let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue) | O_CLOEXEC, 0)
    guard probe >= 0 else { return false }
    defer { close(probe) }
    guard let address = UnixAddress(path) else { return false }
    let reached = address.withPointer { connect(probe, $0, $1) == 0 }
    return reached || errno == EAGAIN
  }

  /// Also behind a link.
  private static func isSocket(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }

  /// Whether the kernel knows of a listener with that name: the flags' bit says that connections are accepted.
  private static func listening(at path: String) -> Bool {
    guard let file = fopen("/proc/net/unix", "re") else { return false }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var room = 0
    defer { free(line) }
    while getline(&line, &room, file) > 0 {
      guard let line else { return false }
      let words = String(cString: line).split(
        separator: " ", maxSplits: 7, omittingEmptySubsequences: true)
      guard words.count == 8, let flags = UInt32(words[3], radix: 16), flags & 0x10000 != 0 else {
        continue
      }
      if words[7].split(separator: "\n").first.map(String.init) == path { return true }
    }
    return false
  }
}
