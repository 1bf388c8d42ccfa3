// VB-NET: listeners, sockets and addresses.
import Streams

extension MessageDefinition {
  static let listening = MessageDefinition("VB-NET-001", .info, "listening on …")

  // MARK: UNIX sockets

  static let socketInUse = MessageDefinition(
    "VB-NET-010", .error, "socket '…' is in use by another process",
    "Another program serves the socket: virtproxyd, a monolithic libvirtd, or a second broker. "
      + "`ss -lxp | grep libvirt-sock` shows which. Stop it, or give the broker another `unix_sock_dir`. See moving.md."
  )
  static let notASocket = MessageDefinition(
    "VB-NET-011", .error, "'…' exists and is not a socket",
    "The broker does not remove it. Find out what it is, and remove it.")
  static let socketPathTooLong = MessageDefinition(
    "VB-NET-012", .error, "socket path '…' is empty or longer than a UNIX socket allows",
    "A path has at most 107 bytes. Use a shorter `unix_sock_dir`.")
  static let socketNotCreated = MessageDefinition(
    "VB-NET-013", .error, "cannot create a socket for '…': …",
    "The broker has too few file descriptors, or the system has no memory left.")
  static let socketNotBound = MessageDefinition(
    "VB-NET-014", .error, "cannot bind socket '…': …",
    "The directory is missing or cannot be written. `Permission denied`: start as root, or set `unix_sock_dir`."
  )
  static let socketGroupNotSet = MessageDefinition(
    "VB-NET-015", .error, "cannot give socket '…' to group …: …",
    "Only root can give a socket to a group that it is not in.")
  static let socketNotListening = MessageDefinition(
    "VB-NET-016", .error, "cannot listen on socket '…': …")
  static let socketReplacedByFile = MessageDefinition(
    "VB-NET-017", .error, "another file has its place",
    "Another process replaced the socket while the broker was creating it. Find out which.")
  static let descriptorUnusable = MessageDefinition(
    "VB-NET-018", .error, "cannot use descriptor … as …: …",
    "The program that starts the broker hands over a descriptor that is closed or is not a socket.")

  // MARK: Addresses

  static let addressNotResolved = MessageDefinition(
    "VB-NET-020", .error, "cannot resolve address '…' port '…': …",
    "This host does not know the name in `listen_addr` or the port's service name. Try `getent ahosts NAME` and "
      + "`getent services NAME`.")
  static let noAddress = MessageDefinition(
    "VB-NET-021", .error, "no address to listen on for '…' port '…'",
    "The name has no address of a family that this kernel supports.")
  static let addressSocketNotCreated = MessageDefinition(
    "VB-NET-022", .error, "cannot create a socket for …: …",
    "The broker has too few file descriptors, or the system has no memory left.")
  static let addressNotBound = MessageDefinition(
    "VB-NET-023", .error, "cannot bind …: …",
    "`Address already in use`: another program listens there; `ss -ltnp` shows which. "
      + "`Cannot assign requested address`: `listen_addr` is not an address of this host.")
  static let addressNotListening = MessageDefinition(
    "VB-NET-024", .error, "cannot listen on …: …")
}
