// VB-POLKIT: questions to polkit over the system bus.
import Streams

extension MessageDefinition {
  static let polkitDenied = MessageDefinition(
    "VB-POLKIT-001", .warning, "denied",
    "To allow a group, add a polkit rule for `org.libvirt.unix.manage`; Debian's package of libvirt has one for the group `libvirt`."
  )
  static let polkitAgentMissing = MessageDefinition(
    "VB-POLKIT-002", .warning, "polkit requires authentication, and the client has no polkit agent",
    "virsh starts an agent on a terminal. For other programs run `pkttyagent`, or add a polkit rule."
  )
  static let polkitDialogDismissed = MessageDefinition(
    "VB-POLKIT-003", .warning, "the user dismissed the authentication dialog")
  static let polkitCheckFailed = MessageDefinition(
    "VB-POLKIT-004", .warning, "polkit check failed: …")
  static let systemBusNotReached = MessageDefinition(
    "VB-POLKIT-005", .warning, "cannot reach the system bus: …",
    "D-Bus is not running: `systemctl start dbus`.")
  static let systemBusLost = MessageDefinition(
    "VB-POLKIT-006", .warning, "connection to the system bus lost: …",
    "D-Bus was restarted. The broker connects again for the next check.")
  static let polkitAnswerNotDecoded = MessageDefinition(
    "VB-POLKIT-007", .warning, "cannot decode the answer of polkit")
  static let polkitError = MessageDefinition("VB-POLKIT-008", .warning, "…: …")
}

// MARK: What a client sees

extension MessageDefinition {
  static let clientPolkitDenied = MessageDefinition(
    "VB-ERR-081", .error, "access denied by policy", "See VB-POLKIT-001.")
  static let clientPolkitAgentMissing = MessageDefinition(
    "VB-ERR-082", .error, "no polkit agent available to authenticate action '…'",
    "See VB-POLKIT-002.")
  static let clientPolkitDismissed = MessageDefinition(
    "VB-ERR-083", .error, "user cancelled authentication process")
  static let clientPolkitFailed = MessageDefinition(
    "VB-ERR-084", .error, "the policy could not be asked for",
    "The broker cannot reach polkit. Its log has the reason (VB-POLKIT-004).")
}
