// VB-CONF: the configuration file. The first argument is mostly a place: `file:line: key`.
import Streams

extension MessageDefinition {
  // MARK: The file

  static let cannotOpenConfiguration = MessageDefinition(
    "VB-CONF-001", .error, "cannot open the configuration file …: …",
    "Correct the path given with `-f`, or the permissions of the file.")
  static let cannotReadConfiguration = MessageDefinition(
    "VB-CONF-002", .error, "cannot read the configuration file …: …",
    "The path given with `-f` is a directory, or the disk has a fault.")
  static let configurationTooLarge = MessageDefinition(
    "VB-CONF-003", .error, "the configuration file … is larger than 10 MiB",
    "`-f` names a file that is not a configuration.")
  static let invalidSyntax = MessageDefinition(
    "VB-CONF-004", .error, "…: syntax error: expected …, found …",
    "Correct the line. What can be expected is listed above.")

  // MARK: Keys and values

  static let invalidValue = MessageDefinition(
    "VB-CONF-005", .error, "…: expected …, found …",
    "Correct the value. What can be expected is listed above.")
  static let unknownKey = MessageDefinition(
    "VB-CONF-006", .warning, "…: unknown key, ignored",
    "Neither libvirt nor the broker has this key. Correct or remove it.")
  static let misspeltKey = MessageDefinition(
    "VB-CONF-007", .warning, "…: unknown key, ignored; did you mean …?",
    "Correct the name of the key.")
  static let repeatedKey = MessageDefinition(
    "VB-CONF-008", .warning, "…: ignored, already set on line …",
    "The first value is used, as in libvirt. Remove one of the lines.")
  static let unknownGroup = MessageDefinition(
    "VB-CONF-009", .error, "…: group '…' does not exist",
    "Create it with `groupadd`, or name a group that `getent group` lists.")

  // MARK: Keys that contradict each other

  static let tooManyAnonymousClients = MessageDefinition(
    "VB-CONF-010", .error, "…: max_anonymous_clients (…) must not be more than max_clients (…)",
    "Lower the one or raise the other.")
  static let polkitNeedsUNIXSocket = MessageDefinition(
    "VB-CONF-011", .error, "…: polkit can only authenticate clients of UNIX sockets",
    "`auth_tcp` and `auth_tls` can be `\"none\"` or `\"sasl\"`.")
  static let noAccessDriver = MessageDefinition(
    "VB-CONF-012", .error, "…: this build has no access driver '…'; only 'none' is possible",
    "Configure access drivers in the backends. They receive the identity of each client.")
  static let auditingRequired = MessageDefinition(
    "VB-CONF-013", .error,
    "…: auditing by the kernel is required, but this build does not support it; set it to 0 or 1",
    "The broker's own audit is `audit_log`.")
  static let tlsFilesIncomplete = MessageDefinition(
    "VB-CONF-014", .error, "…: … must also be set: key_file, cert_file and ca_file go together",
    "Set all three or none.")
  static let unpairedCertificates = MessageDefinition(
    "VB-CONF-015", .error, "…: …, but …: each certificate needs its own key",
    "`cert_file` and `key_file` must have the same number of entries.")

  // MARK: Other hosts

  static let invalidUpstreamEntry = MessageDefinition(
    "VB-CONF-016", .error, "…: invalid entry '…': …",
    "The format of the entries is in virtbrokerd.conf(5).")
  static let inaccessibleUpstreamFile = MessageDefinition(
    "VB-CONF-017", .error, "…: cannot use …: …",
    "The file must exist, and the broker's user must be able to read it, or to execute a `command`."
  )

  // MARK: Keys of virtproxyd without effect

  static let adminRequestsWithoutEffect = MessageDefinition(
    "VB-CONF-018", .warning,
    "…: no effect: the broker answers each call of an administrator before it reads the next")
  static let kernelAuditWithoutEffect = MessageDefinition(
    "VB-CONF-019", .warning, "…: no effect: this build does not support auditing by the kernel",
    "The broker's own audit is `audit_log`.")
  static let hostUUIDWithoutEffect = MessageDefinition(
    "VB-CONF-020", .warning, "…: no effect: the broker does not use the host's UUID",
    "Set it in the configuration of the backends.")
  static let backendKeyWithoutEffect = MessageDefinition(
    "VB-CONF-021", .warning, "…: no effect: this is a setting of the backends",
    "Set it in the configuration of the backends.")
  static let unusedKeyWithoutEffect = MessageDefinition(
    "VB-CONF-022", .warning, "…: no effect: libvirt does not use this key either", "Remove it.")
  static let workersWithoutEffect = MessageDefinition(
    "VB-CONF-023", .info,
    "…: no effect beyond the numbers that virt-admin reports: one thread serves every client")
}
