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
    "The backend died or was restarted. VB-UPS-010 follows if the client is kept; otherwise calls under way fail with "
      + "this error, and a client that opened this backend, or expects events of it, is disconnected."
  )
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

  // MARK: A lost backend

  static let upstreamAwaited = MessageDefinition(
    "VB-UPS-010", .debug, "waiting for … to come back, for … s at most: …",
    "The client is kept meanwhile, and its new calls wait (`upstream_reconnect`).")
  static let upstreamReopened = MessageDefinition(
    "VB-UPS-011", .debug, "connected to … again after … ms")
  static let upstreamGivenUp = MessageDefinition(
    "VB-UPS-012", .warning, "… did not come back within … s",
    "The backend is still down: start it. The calls that waited for it failed, and the client is disconnected. "
      + "`upstream_reconnect_seconds` is the time that it had.")
  static let registrationRefused = MessageDefinition(
    "VB-UPS-013", .warning, "… is back and refuses the client's registration for events: …",
    "The client's rights have changed, or the backend is another version. The client is disconnected, so that it "
      + "does not wait for events that never come.")
  static let missedUnknown = MessageDefinition(
    "VB-UPS-014", .warning, "… is back, and what happened meanwhile is not known",
    "The client follows objects whose lists the backend refused, are too long (4,096 objects), or do not explain what "
      + "happened. The client is disconnected, so that it looks again (`upstream_reconnect`).")
}
