// VB-START: the start of virtbrokerd, apart from its configuration and its sockets.
import Streams

extension MessageDefinition {
  static let ready = MessageDefinition("VB-START-001", .info, "virtbrokerd … is ready")
  static let cannotCreateDirectory = MessageDefinition(
    "VB-START-002", .error, "cannot create the directory …: …",
    "Start the broker as root, or set `unix_sock_dir` to an existing directory.")

  // MARK: Names of the sockets

  static let socketNameInUse = MessageDefinition(
    "VB-START-003", .warning,
    "… is in use by another process; the broker's own sockets are …, … and …",
    "libvirt's socket names belong to another daemon on this host, so local clients must name the broker's "
      + "socket in their URI. See moving.md.")
  static let socketNamesOfLibvirtd = MessageDefinition(
    "VB-START-004", .warning,
    "libvirtd is installed without modular daemons and can claim the socket names in …; the broker's own sockets "
      + "are …, … and …",
    "libvirtd can start at any time, so local clients must name the broker's socket in their URI. See moving.md."
  )

  // MARK: The pid file

  static let cannotTakePidFile = MessageDefinition(
    "VB-START-005", .error, "cannot take the pid file …: …",
    "If another broker runs, stop it or give this one another file with `-p`. `Permission denied`: start the "
      + "broker as root.")
  static let pidFileLocked = MessageDefinition(
    "VB-START-006", .error, "it is locked by process …",
    "The number is that of the running broker.")
  static let pidFileWasLocked = MessageDefinition(
    "VB-START-007", .error, "it was locked by another process", "Try again.")
  static let pidFileNotRegular = MessageDefinition(
    "VB-START-008", .error, "it is not a regular file with one name",
    "Find out what the file is, and remove it.")

  // MARK: In the background

  static let backgroundStartFailed = MessageDefinition(
    "VB-START-009", .error, "the daemon failed to start (…): …",
    "The stage of the start is in parentheses; the cause follows.")
  static let backgroundProcessFailed = MessageDefinition(
    "VB-START-010", .error, "the daemon failed to start: …")
  static let cannotCreatePipe = MessageDefinition(
    "VB-START-011", .error, "cannot create a pipe: …",
    "The process has too few file descriptors, or the system has no memory left.")
  static let cannotExecuteAgain = MessageDefinition(
    "VB-START-012", .error, "cannot execute …: …", "Check the program file and its permissions.")
  static let exitedBeforeReady = MessageDefinition(
    "VB-START-013", .error, "it exited with status … before it was ready",
    "The log has the reason.")
  static let killedBeforeReady = MessageDefinition(
    "VB-START-014", .error, "signal … ended it before it was ready",
    "Another process killed it, or it crashed. The log and `coredumpctl` can show more.")
}
