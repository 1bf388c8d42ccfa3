// VB-AUTH: how clients authenticate. VB-AUTH-020 to 029 are the broker's.

extension MessageDefinition {
  static let notAuthenticatedInTime = MessageDefinition(
    "VB-AUTH-001", .warning, "not authenticated within … s (auth_timeout)",
    "Raise `auth_timeout` if users type passwords. It is also possible that polkit does not answer."
  )

  // MARK: SASL

  static let saslOffered = MessageDefinition(
    "VB-AUTH-002", .info, "SASL: offered the mechanisms …")
  static let saslChosen = MessageDefinition(
    "VB-AUTH-003", .info, "SASL: the client chose '…'")
  static let saslSucceeded = MessageDefinition(
    "VB-AUTH-004", .info, "SASL: authenticated user '…' by …, protection strength …")
  static let saslFailed = MessageDefinition(
    "VB-AUTH-005", .warning, "SASL: authentication failed: …",
    "The client learns only `authentication failed`; the reason is in the log. A wrong password and an unknown user "
      + "look alike. `sasldblistusers2 -f /etc/libvirt/passwd.db` lists the users of a database; the broker must be "
      + "able to read it.")
  static let saslTooManyFailures = MessageDefinition(
    "VB-AUTH-006", .warning, "SASL: authentication failed … times; closing the connection")
  static let saslBegunTwice = MessageDefinition(
    "VB-AUTH-007", .warning, "the client started the exchange a second time",
    "A defect in the client's program.")
  static let saslStepOutOfOrder = MessageDefinition(
    "VB-AUTH-008", .warning, "step out of order", "A defect in the client's program.")
  static let dataBehindSASL = MessageDefinition(
    "VB-AUTH-009", .warning, "the client sent unencrypted data after its SASL authentication",
    "A defect in the client's program, or an attempt to insert data into the connection.")

  // MARK: polkit

  static let polkitProcessUnknown = MessageDefinition(
    "VB-AUTH-010", .warning, "polkit: the client's process is not known, or has exited",
    "The client ended, or it is in another PID namespace, such as a container's. polkit cannot judge it; use SASL for "
      + "such clients.")
  static let polkitActionGranted = MessageDefinition("VB-AUTH-011", .info, "polkit: granted …")
  static let polkitActionRefused = MessageDefinition(
    "VB-AUTH-012", .warning, "polkit: …: …",
    "To allow a group, add a polkit rule for the action. Debian's libvirt package has a rule for the group `libvirt`."
  )
}
