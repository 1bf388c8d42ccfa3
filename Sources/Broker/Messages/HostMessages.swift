// VB-HOST: other hosts that clients open through the broker, and the programs that lead there. Clients receive these
// texts as errors, without the identifiers; the log has both.
import Streams

// MARK: Policy

extension MessageDefinition {
  static let hostNotAllowed = MessageDefinition(
    "VB-HOST-001", .error, "opening '…' is not allowed here (upstream_allowed_hosts)",
    "`upstream_allowed_hosts` has no entry for this transport, host and port. An entry without a port allows only the transport's usual port."
  )
  static let hostUserNotUsed = MessageDefinition(
    "VB-HOST-002", .error, "transport '…' has no use for the user '…'",
    "Only ssh has users. Remove the user from the URI.")
  static let hostUserFixed = MessageDefinition(
    "VB-HOST-003", .error, "user '…' is not the one upstream_settings has for '…'",
    "Remove the user from the URI.")
  static let hostParameterMissing = MessageDefinition(
    "VB-HOST-004", .error,
    "transport '…' to '…' needs the parameter '…' in the broker's upstream_settings",
    "`ext` needs `command=`, `unix` needs `socket=`.")
  static let hostParameterOfClient = MessageDefinition(
    "VB-HOST-005", .error,
    "parameter '…' in URI '…': parameters for the way to another host come from the broker's upstream_settings, never from a client",
    "Remove the parameter from the client's URI and set it in `upstream_settings`.")
  static let hostIsThisBroker = MessageDefinition(
    "VB-HOST-006", .error, "opening '…' leads back to this broker",
    "Open the local daemon: `name=qemu:///system`.")
  static let hostAddressIsThisBroker = MessageDefinition(
    "VB-HOST-007", .error, "opening '…' leads back to this broker: it is …",
    "Open the local daemon: `name=qemu:///system`.")
  static let hostLedBack = MessageDefinition(
    "VB-HOST-008", .error, "opening '…' has led back to the broker it came from",
    "Brokers refer to each other in a circle.")
  static let hostTooManyBrokers = MessageDefinition(
    "VB-HOST-009", .error, "opening '…' leads through more than … brokers",
    "Brokers refer to each other in a circle.")
}

// MARK: URIs

extension MessageDefinition {
  static let hostTooManyHosts = MessageDefinition(
    "VB-HOST-010", .error, "more than … hosts in a row in URI '…'",
    "The URI in `name` names a host whose `name` names a host, and so on.")
  static let hostTransportBehindHost = MessageDefinition(
    "VB-HOST-011", .error,
    "transport '…' behind another host in URI '…': only tcp, tls and ssh are possible there",
    "With `ext` the other host would run a command of the client's choice, with `unix` it would open a socket of its own as root."
  )
  static let hostSecondName = MessageDefinition(
    "VB-HOST-012", .error, "second parameter 'name' in URI '…'")
  static let hostInvalidParameter = MessageDefinition(
    "VB-HOST-013", .error, "invalid value of the parameter '…' in URI '…'")
  static let hostInvalidUser = MessageDefinition(
    "VB-HOST-014", .error, "invalid user name in URI '…'")
  static let hostBracketMissing = MessageDefinition(
    "VB-HOST-015", .error, "missing ']' behind the host in URI '…'")
  static let hostInvalid = MessageDefinition(
    "VB-HOST-016", .error, "invalid host in URI '…'")
  static let hostMissing = MessageDefinition(
    "VB-HOST-017", .error, "no host in URI '…', which this transport needs")
  static let hostInvalidPort = MessageDefinition(
    "VB-HOST-018", .error, "invalid port in URI '…'")
  static let hostPortNotUsed = MessageDefinition(
    "VB-HOST-019", .error, "port with transport '…', which has none, in URI '…'")
}

// MARK: Connecting

extension MessageDefinition {
  static let hostUnreachable = MessageDefinition(
    "VB-HOST-020", .error, "unable to connect to '…': …")
  static let hostAddressUnreachable = MessageDefinition(
    "VB-HOST-021", .error, "unable to connect to '…' at …: …")
  static let hostNoAddress = MessageDefinition(
    "VB-HOST-022", .error, "unable to connect to '…': the name has no address")
  static let hostTLSFailed = MessageDefinition(
    "VB-HOST-023", .error, "no TLS session with '…': …")
  static let hostTLSNotConfigured = MessageDefinition(
    "VB-HOST-024", .error, "no TLS session with '…': the broker's own certificates cannot be used",
    "The log has the reason (VB-HOST-029).")
  static let hostHandshakeFailed = MessageDefinition(
    "VB-HOST-025", .error, "the TLS handshake with '…' failed: …")
  static let hostNotTrusted = MessageDefinition(
    "VB-HOST-026", .error, "'…' is not trusted: …",
    "The other host's certificate comes from another authority, or is not valid for that name.")
  static let hostRefusedBroker = MessageDefinition(
    "VB-HOST-027", .error, "'…' has not accepted the broker's certificate or address",
    "The other host's log has the reason. The broker needs a client's certificate: `virtbroker-pki client NAME`, or `pkipath=` in `upstream_settings`."
  )
  static let hostRefusedBrokerBecause = MessageDefinition(
    "VB-HOST-028", .error, "'…' has not accepted the broker's certificate or address: …",
    "As VB-HOST-027.")
  static let hostCredentialsUnusable = MessageDefinition(
    "VB-HOST-029", .warning, "certificates for '…' cannot be used: …")
  static let hostCertificateDiagnostics = MessageDefinition(
    "VB-HOST-030", .warning, "certificate warning for '…': …")
  static let hostAcceptedUnverified = MessageDefinition(
    "VB-HOST-031", .warning, "'…' is used despite certificate errors (no_verify): …",
    "`no_verify=1` is set for this host in `upstream_settings`.")
}

// MARK: Helper programs

extension MessageDefinition {
  static let helperLimitReached = MessageDefinition(
    "VB-HOST-032", .warning, "…: too many helper programs are running: … of … for …",
    "Clients of this user or address have 64 connections to other hosts that go through a program (ssh, ext), or all clients together have 256. Only the second limit applies to root."
  )
  static let helperLimitOfClient = MessageDefinition(
    "VB-HOST-033", .error, "too many connections to other hosts are open: '…' needs one more",
    "See VB-HOST-032.")
  static let helperNotStarted = MessageDefinition(
    "VB-HOST-034", .warning, "…: cannot start …: …",
    "ssh is not installed, or the command of `ext` does not exist or is not executable.")
  static let helperNotStartedForClient = MessageDefinition(
    "VB-HOST-035", .error, "cannot start the program that leads to '…': …",
    "The log has the name of the program (VB-HOST-034).")
  static let helperOutput = MessageDefinition(
    "VB-HOST-036", .warning, "…: output of the helper program: …",
    "Run the program by hand as the broker's user.")
  static let helperOutputTruncated = MessageDefinition(
    "VB-HOST-037", .warning, "…: further output of the helper program is not logged")
  static let processStarted = MessageDefinition("VB-HOST-038", .debug, "… started")
  static let processExited = MessageDefinition(
    "VB-HOST-039", .info, "… exited with status …",
    "What it wrote before stands in VB-HOST-036. Run it by hand as the broker's user.")
  static let processKilled = MessageDefinition(
    "VB-HOST-040", .debug, "… was ended by signal …")
  static let processDidNotExit = MessageDefinition(
    "VB-HOST-041", .warning, "… did not exit when asked to and is killed",
    "The program ignores the end of its connection and SIGTERM.")
}

// MARK: Settings

extension MessageDefinition {
  static let unknownTransport = MessageDefinition(
    "VB-HOST-042", .error, "'…' is not a transport; expected tcp, tls, ssh, unix or ext")
  static let patternInvalidHost = MessageDefinition(
    "VB-HOST-043", .error, "'…' is not a host")
  static let patternInvalidPort = MessageDefinition(
    "VB-HOST-044", .error, "'…' is neither a port number nor '*'")
  static let ruleEmpty = MessageDefinition("VB-HOST-045", .error, "the entry is empty")
  static let ruleWithoutValue = MessageDefinition(
    "VB-HOST-046", .error, "expected PARAMETER=VALUE, found '…'")
  static let ruleUnknownParameter = MessageDefinition(
    "VB-HOST-047", .error, "unknown parameter '…'; expected one of …")
  static let ruleRepeatedParameter = MessageDefinition(
    "VB-HOST-048", .error, "the parameter '…' is set twice")
  static let ruleInvalidUser = MessageDefinition(
    "VB-HOST-049", .error, "…: expected the name of a user, found '…'")
  static let ruleInvalidProgram = MessageDefinition(
    "VB-HOST-050", .error,
    "…: expected the name or path of a program on the other host, found '…'")
  static let ruleInvalidPath = MessageDefinition(
    "VB-HOST-051", .error,
    "…: expected an absolute path of letters, digits and any of / . _ + : @ = , -; found '…'",
    "Other characters are not possible because some of these paths are passed to a shell.")
  static let ruleInvalidWord = MessageDefinition(
    "VB-HOST-052", .error, "…: expected …, found '…'")
}
