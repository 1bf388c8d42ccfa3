// VB-UPS: connections to backends. The session has VB-UPS-001 to 019.
import Streams

extension MessageDefinition {
  static let driverBackendAbsent = MessageDefinition(
    "VB-UPS-020", .info, "… is not running: …; its calls go to the backend that the client opened")
  static let noReply = MessageDefinition(
    "VB-UPS-021", .warning,
    "no reply to … (procedure …, serial …) from … for … s (slow_call_seconds)",
    "The backend hangs, or the call takes long; calls that are expected to take long are logged at level info. Each call "
      + "is logged once, and the broker continues to wait for its reply. Look at the backend's log."
  )
  static let backendLost = MessageDefinition(
    "VB-UPS-027", .warning, "… is lost: …; clients that can be kept wait for … s at most",
    "The backend died or was restarted. Start it, if nothing does. Clients that cannot be kept are disconnected, each "
      + "with VB-UPS-004 (`upstream_reconnect`).")
  static let backendReturned = MessageDefinition(
    "VB-UPS-028", .info, "… is back after … ms: … of … connections were made again")
  static let backendGivenUp = MessageDefinition(
    "VB-UPS-029", .warning, "… is still away after … ms, and no client waits for it any more",
    "The backend did not come back within `upstream_reconnect_seconds`, and the clients that waited for it were "
      + "disconnected, or they left. Start it.")

  // MARK: The broker's own login

  static let upstreamCredentialsMissing = MessageDefinition(
    "VB-UPS-022", .warning, "… has no credentials for '…'",
    "The authfile has neither a section `[auth-libvirt-HOST]` nor `[auth-libvirt-default]`, or not the credentials that "
      + "the section names.")
  static let upstreamCredentialsUnreadable = MessageDefinition(
    "VB-UPS-023", .warning, "no credentials for '…': …")
  static let upstreamLoginNotConfigured = MessageDefinition(
    "VB-UPS-024", .warning, "no credentials are configured",
    "Set `authfile=` for the host in `upstream_settings`.")
  static let upstreamSatisfiedEarly = MessageDefinition(
    "VB-UPS-025", .warning, "the other host ended the exchange too early",
    "The other host did not prove who it is.")
  static let upstreamProtectionTooWeak = MessageDefinition(
    "VB-UPS-026", .warning, "protection of strength … is too weak",
    "Over plain TCP the mechanism must encrypt. Use `tls`, or a mechanism such as GSSAPI.")
}
