// VB-AUTH: what authentication needs from services. The session has VB-AUTH-001 to 019.
import Streams

extension MessageDefinition {
  static let saslMechanisms = MessageDefinition("VB-AUTH-020", .info, "SASL on …: …")
  static let saslUnusable = MessageDefinition(
    "VB-AUTH-021", .warning, "SASL on …: no client can authenticate: …",
    "Clients are refused at this listener until the cause is corrected and the broker is restarted."
  )
  static let userNotAllowed = MessageDefinition(
    "VB-AUTH-022", .warning, "user '…' is not in sasl_allowed_username_list",
    "Add the user to `sasl_allowed_username_list`, if it should have access.")
  static let mechanismFailed = MessageDefinition("VB-AUTH-023", .warning, "'…' failed: …")
  static let saslNotConfigured = MessageDefinition(
    "VB-AUTH-024", .warning, "SASL is not configured")
  static let exchangeNotBegun = MessageDefinition(
    "VB-AUTH-025", .warning, "the exchange has not begun")
  static let polkitNotConfigured = MessageDefinition(
    "VB-AUTH-026", .warning, "polkit is not configured")
}
