// VB-DAEM: users' own daemons, which the broker starts for session URIs.
import Streams

extension MessageDefinition {
  static let daemonStarted = MessageDefinition("VB-DAEM-001", .info, "started … as process …")
  static let daemonExited = MessageDefinition(
    "VB-DAEM-002", .error, "… exited with status … before it accepted connections",
    "Start the daemon by hand as the user and read its messages.")
  static let daemonNotStarted = MessageDefinition("VB-DAEM-003", .error, "cannot start …: …")
  static let lockFileNotOpened = MessageDefinition(
    "VB-DAEM-004", .error, "cannot open the lock file '…': …",
    "The runtime directory is missing, or does not belong to the user.")
  static let lockNotTaken = MessageDefinition("VB-DAEM-005", .error, "cannot lock '…': …")
}
