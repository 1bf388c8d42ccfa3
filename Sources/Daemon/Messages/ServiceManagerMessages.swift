// VB-SYSD: what systemd or another service manager hands over.
import Streams

extension MessageDefinition {
  // MARK: Sockets

  static let unknownActivatedSocket = MessageDefinition(
    "VB-SYSD-001", .error,
    "activated socket … (descriptor …): unknown name: expected virtbrokerd.socket or virtproxyd.socket, or the "
      + "same with -ro, -admin, -tcp or -tls before the dot",
    "Use the socket units in moving.md and change them with drop-ins, or set one of these names with "
      + "`FileDescriptorName=`.")
  static let activatedFileNotSocket = MessageDefinition(
    "VB-SYSD-002", .error, "activated socket … (descriptor …) is not a socket: …",
    "A unit hands over a file or a pipe. Remove it from `Sockets=`.")
  static let activatedSocketNotListening = MessageDefinition(
    "VB-SYSD-003", .error,
    "activated socket … (descriptor …) does not accept connections: the unit must use ListenStream= with Accept=no",
    "Correct the socket unit.")
  static let activatedSocketNotUNIX = MessageDefinition(
    "VB-SYSD-004", .error, "activated socket … (descriptor …) must be a UNIX socket",
    "Only the units `-tcp` and `-tls` can have ports.")
  static let invalidListenFDs = MessageDefinition(
    "VB-SYSD-005", .error, "LISTEN_FDS: expected a number of descriptors, found '…'; ignored",
    "The program that starts the broker sets the variable incorrectly. The broker creates its own sockets."
  )
  static let invalidListenFDNames = MessageDefinition(
    "VB-SYSD-006", .error,
    "LISTEN_FDNAMES: expected …, found '…'; the activated sockets are ignored",
    "The program that starts the broker hands over sockets without their names. systemd sets the names itself. "
      + "The broker creates its own sockets.")
  static let listenFDsOfAnotherProcess = MessageDefinition(
    "VB-SYSD-007", .info, "LISTEN_FDS: not for this process, ignored")
  static let activatedSocketReceived = MessageDefinition(
    "VB-SYSD-008", .info, "activated socket … received as descriptor …")

  // MARK: Notifications

  static let invalidNotifySocket = MessageDefinition(
    "VB-SYSD-009", .warning,
    "NOTIFY_SOCKET: expected an absolute path or an abstract name, found '…'; the service manager is not notified",
    "systemd sets the variable correctly. Unset it if a shell has set it.")
  static let cannotCreateNotifySocket = MessageDefinition(
    "VB-SYSD-010", .warning,
    "NOTIFY_SOCKET: cannot create a socket: …; the service manager is not notified",
    "The process has too few file descriptors, or the system has no memory left.")
  static let invalidWatchdogTime = MessageDefinition(
    "VB-SYSD-011", .warning,
    "WATCHDOG_USEC: expected a number of microseconds, found '…'; the watchdog is not served",
    "systemd sets the variable correctly. Unset it if a shell has set it.")
}
