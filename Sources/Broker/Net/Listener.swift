// A listening socket.
import CLinux
import Glibc
import Streams

/// Accepts connections and passes them to the acceptor. It is watched only while the broker accepts clients.
final class Listener: Handler {
  /// Connections accepted in one turn before other handlers run.
  private static let acceptsPerTurn = 64

  private unowned let acceptor: Acceptor
  private let closer: Closer
  private let descriptor: Descriptor
  private var watcher: DescriptorWatcher
  private let boundPath: String?
  private let account: ServiceAccount?
  let settings: ListenerSettings
  /// Name used in log messages: a path or an address with its port.
  let name: String
  /// Its number in `Admission`. The admin socket has none.
  var gate = 0
  /// Number of its unauthenticated clients.
  var unauthenticatedCount: Int { acceptor.unauthenticated(at: self) }
  /// Limits the warning about too many of them.
  var unauthenticatedWarning = WarningInterval()

  /// Owns a bound, listening socket. The listener removes `path` when it is released.
  private init(
    _ descriptor: consuming Descriptor, _ settings: ListenerSettings, name: String, path: String?,
    account: ServiceAccount?, acceptor: Acceptor, loop: LoopServices
  ) {
    self.acceptor = acceptor
    closer = loop.closer
    self.settings = settings
    self.name = name
    boundPath = path
    self.account = account
    watcher = DescriptorWatcher(descriptor.number, on: loop.reactor)
    self.descriptor = descriptor
    super.init()
    watcher.belong(to: self)
  }

  deinit {
    watcher.watch([])
    if let boundPath { Listener.remove(boundPath, for: account) }
  }

  /// Removes a socket's file with the rights that apply to its directory.
  static func remove(_ path: String, for account: ServiceAccount?) {
    // If the process cannot take these rights, the file stays. The next start finds it stale.
    try? access(path, for: account) { _ = unlink(path) }
  }

  /// Binds and listens according to the settings; a TCP setting can result in several sockets.
  static func open(
    _ settings: ListenerSettings, acceptor: Acceptor, loop: LoopServices,
    account: ServiceAccount?, backlog: Int
  ) throws(BrokerFailure) -> [Listener] {
    switch settings.address {
    case .activated(let number, let name, _):
      // The service manager made this socket, with its options and its backlog. Its file stays.
      let flags = fcntl(number, F_GETFL)
      guard flags >= 0, fcntl(number, F_SETFL, flags | O_NONBLOCK) >= 0,
        fcntl(number, F_SETFD, FD_CLOEXEC) >= 0
      else {
        throw BrokerFailure(.descriptorUnusable, [number, name, errorText(errno)])
      }
      let place = settings.unixPath ?? Address.local(of: number)?.text ?? ""
      return [
        Listener(
          Descriptor(number), settings, name: place.isEmpty ? name : place, path: nil,
          account: account, acceptor: acceptor, loop: loop)
      ]
    case .unix(let path, let mode, let group):
      let descriptor = try bindUNIX(
        path, mode: mode, group: group, backlog: backlog, for: account)
      return [
        Listener(
          descriptor, settings, name: path, path: path, account: account, acceptor: acceptor,
          loop: loop)
      ]
    case .tcp(let host, let port):
      var listeners: [Listener] = []
      for address in try Address.resolve(host: host, port: port) {
        guard let descriptor = try bindTCP(address, backlog: backlog) else { continue }
        let name = Address.local(of: descriptor.number)?.text ?? address.text
        listeners.append(
          Listener(
            descriptor, settings, name: name, path: nil, account: account, acceptor: acceptor,
            loop: loop))
      }
      guard !listeners.isEmpty else {
        throw BrokerFailure(.noAddress, [host ?? "*", port])
      }
      return listeners
    }
  }

  /// `account`: the user that the process is about to become.
  static func bindUNIX(
    _ path: String, mode: UInt32, group: UInt32?, backlog: Int, for account: ServiceAccount?
  ) throws(BrokerFailure) -> Descriptor {
    guard let address = Address.unix(path) else {
      throw BrokerFailure(.socketPathTooLong, [path])
    }
    let descriptor = Descriptor(socket(AF_UNIX, socketKind, 0))
    guard descriptor.number >= 0 else {
      throw BrokerFailure(.socketNotCreated, [path, errorText(errno)])
    }
    try removeStaleSocket(path, address, for: account)
    let number = descriptor.number
    let error: Int32 = try access(path, for: account) {
      // bind applies the umask, so the permissions hold from the start.
      let old = umask(~mode & 0o777)
      defer { umask(old) }
      return address.withPointer { bind(number, $0, $1) } == 0 ? 0 : errno
    }
    guard error == 0 else {
      throw BrokerFailure(
        .socketNotBound,
        [path, account?.cause(errorText(error), at: path) ?? errorText(error)])
    }
    if let group, let cause = give(path, to: group, for: account) {
      defer { remove(path, for: account) }
      throw BrokerFailure(.socketGroupNotSet, [path, group, cause])
    }
    guard listen(descriptor.number, Int32(clamping: backlog)) == 0 else {
      defer { remove(path, for: account) }
      throw BrokerFailure(.socketNotListening, [path, errorText(errno)])
    }
    return descriptor
  }

  /// Sets the group of a socket that has just been bound. The user may not be a member, so root sets it; by then the
  /// file may be another one. Returns nil, or the cause of the failure.
  private static func give(
    _ path: String, to group: gid_t, for account: ServiceAccount?
  ) -> (any CustomStringConvertible)? {
    let owner = account.flatMap { $0.isUsed(at: path) ? $0.uid : nil } ?? geteuid()
    // O_PATH with O_NOFOLLOW neither follows a link nor opens the file.
    let file = Descriptor(Glibc.open(path, Int32(LINUX_O_PATH) | O_NOFOLLOW | O_CLOEXEC))
    var status = stat()
    guard file.number >= 0, fstat(file.number, &status) == 0 else { return errorText(errno) }
    guard status.st_mode & S_IFMT == S_IFSOCK, status.st_uid == owner, status.st_nlink == 1 else {
      return Message(.socketReplacedByFile)
    }
    let given = fchownat(
      file.number, "", uid_t.max, group, Int32(LINUX_AT_EMPTY_PATH))
    return given == 0 ? nil : errorText(errno)
  }

  /// Removes a socket file that no process listens on. Throws if another process does, or if the file is no socket.
  private static func removeStaleSocket(
    _ path: String, _ address: Address, for account: ServiceAccount?
  ) throws(BrokerFailure) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw BrokerFailure(.notASocket, [path])
    }
    let probe = Descriptor(socket(AF_UNIX, socketKind, 0))
    guard probe.number >= 0 else {
      throw BrokerFailure(.socketNotCreated, [path, errorText(errno)])
    }
    let reached = address.withPointer { connect(probe.number, $0, $1) } == 0
    if reached || errno != ECONNREFUSED {
      throw BrokerFailure(.socketInUse, [path])
    }
    remove(path, for: account)
  }

  /// Nil: the machine has no such address family.
  static func bindTCP(
    _ address: Address, backlog: Int
  ) throws(BrokerFailure) -> Descriptor? {
    let descriptor = Descriptor(socket(address.family, socketKind, 0))
    guard descriptor.number >= 0 else {
      if errno == EAFNOSUPPORT { return nil }
      throw BrokerFailure(.addressSocketNotCreated, [address.text, errorText(errno)])
    }
    setOption(descriptor.number, SOL_SOCKET, SO_REUSEADDR, 1)
    if address.family == AF_INET6 {
      setOption(descriptor.number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1)
    }
    guard address.withPointer({ bind(descriptor.number, $0, $1) }) == 0 else {
      // With IPv6 disabled its wildcard address still resolves.
      if errno == EADDRNOTAVAIL, address.family == AF_INET6 { return nil }
      throw BrokerFailure(.addressNotBound, [address.text, errorText(errno)])
    }
    guard listen(descriptor.number, Int32(clamping: backlog)) == 0 else {
      throw BrokerFailure(.addressNotListening, [address.text, errorText(errno)])
    }
    return descriptor
  }

  /// The listening address, as the kernel reports it.
  var address: Address? { Address.local(of: descriptor.number) }

  /// Whether new connections are accepted here.
  var isAccepting: Bool {
    get { watcher.interest.contains(.read) }
    set { watcher.watch(newValue ? .read : []) }
  }

  /// The kernel allows setting the backlog of a listening socket again.
  func setBacklog(_ count: Int) { _ = listen(descriptor.number, Int32(clamping: count)) }

  override func ready(_ ready: Interest) {
    for _ in 0..<Listener.acceptsPerTurn where isAccepting {
      // Each new client adds a socket to close.
      guard closer.waitingCount < Closer.mostWaiting else {
        return acceptor.cannotAccept(on: self, EMFILE)
      }
      // Every later call on the socket has its own non-blocking flag. The peer's address is read now: the kernel no
      // longer has it once the peer has reset the connection.
      var address: Address?
      let accepted = Descriptor(Address.accept(descriptor.number, &address))
      guard accepted.number >= 0 else {
        switch errno {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: acceptor.cannotAccept(on: self, errno)
        default: break
        }
        return
      }
      // Programs that the broker starts must not inherit a client's socket.
      _ = fcntl(accepted.number, F_SETFD, FD_CLOEXEC)
      let isLast = Listener.isReserved(accepted.number)
      acceptor.accepted(accepted, from: address, on: self)
      if isLast { return acceptor.cannotAccept(on: self, EMFILE) }
    }
  }

  /// Descriptors reserved for those received over existing connections. One message can carry 253 descriptors. The
  /// kernel closes those for which the process has no number, on this thread, for as long as that takes.
  private static let reserve = 256

  private static func isReserved(_ number: Int32) -> Bool {
    // With a limit too low for a reserve, clients come first.
    guard number >= reserve else { return false }
    return Int(number) >= descriptorLimit() - reserve && descriptorLimit() >= 4 * reserve
  }
}

let socketKind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)

/// Sets an integer option. Options only tune a connection, so a refusal is no error.
@discardableResult
func setOption(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) -> Bool {
  var value = value
  return setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
}
