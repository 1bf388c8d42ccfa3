// VB-ERR: errors that the broker sends to clients. Clients receive the text, never the identifier. Where libvirt has an
// error for the case, the text is libvirt's, because programs compare it.

extension MessageDefinition {
  // MARK: Calls

  public static let unexpectedStatus = MessageDefinition(
    "VB-ERR-001", .error, "Unexpected message status …",
    "The client sent a broken call: a defect in its program.")
  public static let unknownProgram = MessageDefinition(
    "VB-ERR-002", .error, "Cannot find program … version …",
    "The client uses a part of the protocol that the backend does not have, such as LXC's calls to a QEMU daemon. "
      + "Connect to the right daemon.")
  public static let unknownProcedure = MessageDefinition(
    "VB-ERR-003", .error, "unknown procedure: …")
  public static let undecodableCall = MessageDefinition(
    "VB-ERR-004", .error, "Unable to decode message payload",
    "The client sent a broken call: its version and the broker's are not compatible, or its program has a defect."
  )
  static let authenticationRequired = MessageDefinition(
    "VB-ERR-005", .error, "authentication required",
    "The client called a procedure before it authenticated. It does not support authentication, or its program has a "
      + "defect.")
  static let hypervisorNotOpen = MessageDefinition(
    "VB-ERR-006", .error, "hypervisor connection not open",
    "The client called a procedure before it opened a connection: a defect in its program.")
  public static let connectionNotOpen = MessageDefinition(
    "VB-ERR-007", .error, "connection not open",
    "If the client opened the empty URI: no libvirt daemon is running; start one. Otherwise the client called a "
      + "procedure before it opened a connection, or after it closed it: a defect in its program.")
  static let connectionAlreadyOpen = MessageDefinition(
    "VB-ERR-008", .error, "connection already open",
    "The client opened a URI twice on one connection: a defect in its program.")
  public static let parameterNotSupported = MessageDefinition(
    "VB-ERR-009", .error, "parameter '…' not supported",
    "The client sent an identity field that is not known.")
  public static let parameterTypeInvalid = MessageDefinition(
    "VB-ERR-010", .error, "invalid type '…' for parameter '…', expected '…'")
  static let tooManyStreams = MessageDefinition(
    "VB-ERR-011", .error, "… streams are open on this connection",
    "A connection can have no more streams. The client should finish some, or use several connections."
  )
  static let streamSerialInUse = MessageDefinition(
    "VB-ERR-012", .error, "serial … is already in use by an open stream of this procedure",
    "A defect in the client's program. The call fails; the connection and the first stream continue."
  )
  static let descriptorsToOtherHost = MessageDefinition(
    "VB-ERR-013", .error, "descriptors cannot be passed to another host",
    "The client's call needs a UNIX socket all the way to the backend.")

  // MARK: Authentication

  static let authenticationFailed = MessageDefinition(
    "VB-ERR-020", .error, "authentication failed",
    "SASL authentication failed. The broker's log has the reason behind VB-AUTH-005.")
  static let callingProcessUnknown = MessageDefinition(
    "VB-ERR-021", .error, "the calling process is not known",
    "See VB-AUTH-010 in the log.")
  static let tooManyConnections = MessageDefinition(
    "VB-ERR-022", .error, "too many connections: …",
    "A limit on connections is reached. The limit is named in the message.")
  public static let noErrorSet = MessageDefinition(
    "VB-ERR-023", .error, "Library function returned error but did not set virError",
    "A call failed without a reason. The log of the broker or of the backend may have one.")

  // MARK: Backends

  static let clientSocketClosed = MessageDefinition(
    "VB-ERR-030", .error, "client socket is closed",
    "The backend closed the connection, or died. VB-UPS-004 in the log has the reason. The client must connect again."
  )
  static let backendTimeout = MessageDefinition(
    "VB-ERR-031", .error, "… did not answer within … s",
    "The backend accepted the connection and did not answer for `open_timeout` seconds. It hangs, or it is overloaded: "
      + "look at its log, restart it.")
  static let backendRequiresSASL = MessageDefinition(
    "VB-ERR-032", .error,
    "… requires SASL authentication, which the broker cannot do for its client",
    "Set `auth_unix_rw` to `none` or `polkit` in the backend's configuration, and require SASL in the broker's."
  )
  static let upstreamLoginFailed = MessageDefinition(
    "VB-ERR-033", .error, "… requires SASL authentication, and the broker could not authenticate",
    "The broker's log has the reason behind VB-UPS-006.")
  static let backendRefusedProcedure = MessageDefinition(
    "VB-ERR-034", .error, "… refused procedure …")
  static let leadsBack = MessageDefinition(
    "VB-ERR-035", .error, "opening '…' leads back to a broker the client came through",
    "Two brokers forward to each other. Correct the URI, or `upstream_allowed_hosts`.")
  static let outcomeUnknown = MessageDefinition(
    "VB-ERR-036", .error, "connection to … lost, outcome unknown",
    "The backend died or was restarted before it had answered this call, or in the middle of this stream. It may have "
      + "carried the call out, or not: check before you repeat it. The connection stays open.")

  // MARK: URIs and sockets

  public static let unparsableURI = MessageDefinition(
    "VB-ERR-040", .error, "Unable to parse URI …",
    "The URI has no valid scheme, or characters outside RFC 3986, which are written as `%` and two hexadecimal digits. "
      + "It has at most 8,192 bytes. Compare `qemu:///system`.")
  public static let noDriver = MessageDefinition(
    "VB-ERR-041", .error, "no connection driver available for …",
    "The URI's scheme is not one of libvirt's drivers that a daemon serves.")
  public static let libraryDriver = MessageDefinition(
    "VB-ERR-042", .error,
    "no connection driver available for …: only a monolithic libvirtd has this driver",
    "The drivers `test`, `openvz` and `vmware` are part of libvirt's library; no modular daemon serves them. Open the "
      + "URI on the client's host, or run a monolithic libvirtd.")
  public static let unsupportedTransport = MessageDefinition(
    "VB-ERR-043", .error, "transport '…' in URI '…' is not supported",
    "The URI that reached the broker names an unknown transport. Transports to other hosts need `upstream_allowed_hosts`."
  )
  public static let hostInLocalURI = MessageDefinition(
    "VB-ERR-044", .error, "URI '…' names a host and no transport to it",
    "Write `scheme+tls://host/system` to open another host.")
  public static let clientParameter = MessageDefinition(
    "VB-ERR-045", .error, "parameter '…' in URI '…' is allowed only on the client's own host",
    "The URI in `name=` has `socket`, `command`, `keyfile` or the like, which would be used with the broker's rights. "
      + "Move the parameter to the client's own URI.")
  public static let unexpectedPath = MessageDefinition(
    "VB-ERR-046", .error, "unexpected … URI path '…', try …://…",
    "The driver does not have this path: `qemu` has `/system` and `/session`, `test` has `/default`. The broker does not "
      + "open `test:///FILE` and `/embed` for clients.")
  public static let testPathMissing = MessageDefinition(
    "VB-ERR-047", .error, "testOpen: supply a path or use test:///default")
  public static let cannotConnect = MessageDefinition(
    "VB-ERR-048", .error, "Failed to connect socket to '…': …",
    "The backend for the URI does not answer. `No such file or directory`: it never ran, or its socket unit is off. "
      + "`Connection refused`: it died. Start it (`systemctl start virtqemud.socket`), or correct `backend_socket_dir`."
  )
  public static let cannotCreateSocket = MessageDefinition(
    "VB-ERR-049", .error, "cannot create a socket for …: …",
    "The broker is out of descriptors or memory. Each client needs two or more descriptors: raise `LimitNOFILE`."
  )
  public static let backendEndOfFile = MessageDefinition(
    "VB-ERR-050", .error, "End of file while reading data: …",
    "The backend closed the connection. It died or was restarted: look at its log, connect again.")
  public static let backendReadFailed = MessageDefinition(
    "VB-ERR-051", .error, "Cannot read data: …",
    "Reading from the backend failed. It died or was restarted: look at its log, connect again.")
}
