// VB-SASL: the SASL library, as a server for clients and as a client of other hosts.
import Streams

extension MessageDefinition {
  static let saslServerNotStarted = MessageDefinition(
    "VB-SASL-001", .error,
    "the SASL library does not start: … (its configuration is sasl2/….conf)",
    "Correct `/etc/sasl2/libvirt.conf`, and make sure that the broker's user can read it.")
  static let saslClientNotStarted = MessageDefinition(
    "VB-SASL-002", .warning, "the SASL library does not start as a client: …")
  static let saslSessionNotCreated = MessageDefinition(
    "VB-SASL-003", .warning, "cannot create a SASL session: …")
  static let saslPropertiesNotSet = MessageDefinition(
    "VB-SASL-004", .warning, "cannot set the SASL security properties: …")
  static let saslNoMechanism = MessageDefinition(
    "VB-SASL-005", .warning, "no mechanism is configured or strong enough: …",
    "Install a mechanism (`libsasl2-modules`, `libsasl2-modules-gssapi-mit`) and name it in `mech_list` in `/etc/sasl2/libvirt.conf`. On plain TCP only mechanisms that encrypt are offered: GSSAPI."
  )
  static let saslStepFailed = MessageDefinition(
    "VB-SASL-006", .warning, "step …: …",
    "A wrong password or an unknown user, unless the library's text says otherwise. `sasldblistusers2 -f /etc/libvirt/passwd.db` lists the users of a database; the broker's user must be able to read it."
  )
  static let saslAnswerTooLong = MessageDefinition(
    "VB-SASL-007", .warning, "step …: the answer is longer than … bytes")
  static let saslUserNameNotRead = MessageDefinition(
    "VB-SASL-008", .warning, "cannot read the user name: …")
  static let saslStrengthNotRead = MessageDefinition(
    "VB-SASL-009", .warning, "cannot read the strength of the security layer: …")
  static let saslLayerTooWeak = MessageDefinition(
    "VB-SASL-010", .warning,
    "user '…' has a security layer of strength …; at least … is required",
    "The mechanism does not encrypt well enough for plain TCP (`tcp_min_ssf`).")
  static let saslMechanismsNotUsable = MessageDefinition(
    "VB-SASL-011", .warning, "cannot use any of the mechanisms '…': …",
    "The broker has none of the mechanisms that the other host offers: install their packages. Mechanisms with user and password need `authfile=` in `upstream_settings`; on plain TCP only mechanisms that encrypt are used."
  )
}
