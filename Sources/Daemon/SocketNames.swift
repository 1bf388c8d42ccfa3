// The names of the broker's UNIX sockets: libvirt's own names, unless another daemon uses them.
import Broker
@preconcurrency import Glibc
import Streams

/// The names of the sockets in their directory. They are chosen once, at the start.
struct SocketNames: Equatable, Sendable {
  let readWrite: String
  let readOnly: String
  let admin: String
  /// Why the names are not libvirt's.
  var reason: Message?

  private init(_ stem: String) {
    readWrite = "\(stem)-sock"
    readOnly = "\(stem)-sock-ro"
    admin = "\(stem)-admin-sock"
  }

  /// The names that clients look for. On a host with modular daemons they are the broker's.
  static let usual = SocketNames("libvirt")
  /// The names beside a libvirtd.
  static let own = SocketNames("virtbroker")

  /// Chooses libvirt's names, unless another process serves one of these sockets or a libvirtd may. `isUsual`: a
  /// libvirtd of this user would use `directory` as well, and would remove whatever sockets are there.
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

  /// Whether a modular daemon has run here, whatever is installed.
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

  /// Whether a process serves the socket. The socket may also be missing or left over from an ended process.
  private static func isServed(_ path: String) -> Bool {
    var status = stat()
    guard lstat(path, &status) == 0, isSocket(path) else { return false }
    // A connection could make the service manager start the service, so the kernel's list comes first.
    if listening(at: path) { return true }
    let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue) | O_CLOEXEC, 0)
    guard probe >= 0 else { return false }
    defer { close(probe) }
    guard let address = UnixAddress(path) else { return false }
    let reached = address.withPointer { connect(probe, $0, $1) == 0 }
    return reached || errno == EAGAIN
  }

  /// Also true for a link to a socket.
  private static func isSocket(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }

  /// Whether the kernel lists a listener with that name. The flag 0x10000 means that the socket accepts connections.
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
