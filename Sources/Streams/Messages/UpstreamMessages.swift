// VB-UPS: connections to backends. VB-UPS-001 to 019 are those that the session writes.

extension MessageDefinition {
  static let upstreamOpened = MessageDefinition("VB-UPS-001", .debug, "… opened '…'")
  public static let cannotOpen = MessageDefinition(
    "VB-UPS-002", .warning, "cannot open '…': …",
    "The broker found no backend for the URI, or the URI is not allowed.")
  static let cannotOpenAt = MessageDefinition(
    "VB-UPS-003", .warning, "cannot open '…' at …: …",
    "The backend refused to open the connection, or did not answer. Look at its log.")
  static let upstreamLost = MessageDefinition(
    "VB-UPS-004", .warning, "connection to … lost: …",
    "The backend died or was restarted. Calls under way fail with this error. Clients that opened this backend are "
      + "disconnected; clients that opened another one, on a modular host, stay connected.")
  static let closeNotConfirmed = MessageDefinition(
    "VB-UPS-005", .warning, "… did not confirm the close",
    "The backend hung when its client disconnected. Nothing is lost.")

  // MARK: The broker's own login

  static let upstreamSASLFailed = MessageDefinition(
    "VB-UPS-006", .warning, "…: SASL: …",
    "The broker could not log in at the other host. `authfile=` in `upstream_settings` names the file with its user and "
      + "password.")
  static let upstreamMechanismsInvalid = MessageDefinition(
    "VB-UPS-007", .warning, "cannot decode the list of mechanisms",
    "The other host's SASL is broken, or it is not a libvirt daemon.")
  static let upstreamAnswerInvalid = MessageDefinition(
    "VB-UPS-008", .warning, "cannot decode an answer",
    "The other host's SASL is broken, or it is not a libvirt daemon.")
  static let upstreamSASLRefused = MessageDefinition(
    "VB-UPS-009", .warning, "refused by the other host: …",
    "`authentication failed` means that the authfile has a wrong user or password.")
}
