// VB-USER: the key `user`. VB-USER-020 and up are in Broker.
import Streams

extension MessageDefinition {
  static let runningAsUser = MessageDefinition("VB-USER-001", .info, "running as user …")
  static let unknownUser = MessageDefinition(
    "VB-USER-002", .error, "…: user '…' does not exist",
    "`systemd-sysusers virtbroker.conf` creates the user `virtbroker`.")
  static let userIgnored = MessageDefinition(
    "VB-USER-003", .warning,
    "user: ignored: only root can become …, and this process runs with uid …",
    "Remove the key, or start the broker as root.")

  // MARK: Becoming the user

  static let cannotBecomeUser = MessageDefinition(
    "VB-USER-004", .error, "cannot become user …: …",
    "The broker stops rather than run as root. A container or sandbox that forbids it is the usual cause."
  )
  static let cannotSetGroups = MessageDefinition(
    "VB-USER-005", .error, "cannot set its groups: …")
  static let cannotSetGroupID = MessageDefinition("VB-USER-006", .error, "cannot set gid …: …")
  static let cannotSetUserID = MessageDefinition("VB-USER-007", .error, "cannot set uid …: …")
  static let cannotSetNoNewPrivileges = MessageDefinition(
    "VB-USER-008", .error, "cannot set no_new_privs: …")
  static let cannotDropCapability = MessageDefinition(
    "VB-USER-009", .error, "cannot drop capability …: …")
  static let canBecomeRootAgain = MessageDefinition(
    "VB-USER-010", .error, "the process can still become root")
  static let capabilitiesRemain = MessageDefinition(
    "VB-USER-011", .error, "the process still has capabilities (…)")

  // MARK: What does not work as that user

  static let polkitNeedsRoot = MessageDefinition(
    "VB-USER-012", .warning,
    "polkit answers only root about other users: with polkit authentication (auth_unix_rw, auth_unix_ro) only root "
      + "and … can connect",
    "Set these keys to `\"none\"` or `\"sasl\"`. With `\"none\"` the group and permissions of the sockets decide."
  )
  static let cannotReadCertificateAgain = MessageDefinition(
    "VB-USER-013", .warning,
    "…: user … cannot read it: …; the certificate read as root is in use, but a renewed one will be refused",
    "Let the user read the file: `chgrp virtbroker FILE; chmod g+r FILE`.")
  static let cannotReadConfigurationAgain = MessageDefinition(
    "VB-USER-014", .warning, "…: user … cannot read it: …; signal HUP will not reload it",
    "Let the user read the file: `chgrp virtbroker FILE; chmod g+r FILE`.")
  static let cannotRemovePidFile = MessageDefinition(
    "VB-USER-015", .info,
    "…: user … cannot remove it; the broker will leave an empty file when it stops")
}
