// VB-TLS: TLS sessions, handshakes, and the certificates in use.
import Streams

// MARK: Certificates in use

extension MessageDefinition {
  static let tlsNotServed = MessageDefinition(
    "VB-TLS-001", .error, "TLS cannot be served: …",
    "The broker does not start until the cause, which follows, is removed. `virtbrokerd --check-tls` checks all files and settings."
  )
  static let certificatesReloaded = MessageDefinition(
    "VB-TLS-002", .info, "certificates reloaded (…)")
  static let certificateFilesChanged = MessageDefinition(
    "VB-TLS-003", .info, "their files changed")
  static let certificateReloadFailed = MessageDefinition(
    "VB-TLS-004", .error,
    "certificate reload (…) failed: …; keeping the current certificates",
    "Clients are not affected. Correct the files; the broker tries again when one of them changes, or on `systemctl reload virtbrokerd`."
  )
}

// MARK: tls_priority

extension MessageDefinition {
  static let priorityInvalid = MessageDefinition(
    "VB-TLS-005", .error, "tls_priority '…': …",
    "`gnutls-cli --list --priority STRING` checks a priority string.")
  static let priorityInvalidAt = MessageDefinition(
    "VB-TLS-006", .error, "tls_priority '…': error at '…': …",
    "`gnutls-cli --list --priority STRING` checks a priority string.")
  static let priorityWithoutVersions = MessageDefinition(
    "VB-TLS-007", .error, "tls_priority '…': allows neither TLS 1.2 nor TLS 1.3")
  static let priorityWithOldVersions = MessageDefinition(
    "VB-TLS-008", .error, "tls_priority '…': allows versions older than TLS 1.2",
    "The broker never uses such versions. Remove them from the string.")
  static let priorityWithoutCurves = MessageDefinition(
    "VB-TLS-009", .error,
    "tls_priority '…': allows no elliptic curve (finite-field Diffie-Hellman is never used)",
    "Add `+GROUP-EC-ALL`. The broker does not use FFDHE2048 to FFDHE8192 or DHE, because a client could keep a processor busy with them."
  )
}

// MARK: Clients

extension MessageDefinition {
  static let tlsClientRefused = MessageDefinition(
    "VB-TLS-010", .warning, "…: TLS client refused: …",
    "The reason follows; see [Certificates](#certificates-vb-cert). The client learns only that the connection ended; virsh reports `server verification (of our certificate or IP address) failed`."
  )
  static let tlsClientAcceptedUnverified = MessageDefinition(
    "VB-TLS-011", .warning,
    "…: TLS client accepted despite certificate errors (tls_no_verify_certificate): …",
    "Remove `tls_no_verify_certificate`, except for tests.")
  static let tlsClientDiagnostics = MessageDefinition(
    "VB-TLS-012", .warning, "…: certificate warning: …",
    "The client is accepted. libvirt accepts such a certificate as well. Replace it at the next renewal."
  )
  static let handshakeLimitReached = MessageDefinition(
    "VB-TLS-013", .warning,
    "tls_max_handshakes (…) is reached: closing the oldest handshakes of the address with the most",
    "Very many clients connect at the same time, or one address opens connections to keep others out, which it cannot. For many clients raise `tls_max_handshakes`. Logged at most once a minute."
  )
  static let handshakeDisplaced = MessageDefinition(
    "VB-TLS-014", .warning, "closed in favor of another handshake (tls_max_handshakes)")
  static let handshakeTimedOut = MessageDefinition(
    "VB-TLS-015", .warning, "TLS handshake did not finish within … s (tls_handshake_timeout)",
    "The client or the network is slow, or a port scanner connected. Raise `tls_handshake_timeout` for slow networks."
  )
  static let handshakeFailed = MessageDefinition(
    "VB-TLS-016", .warning, "TLS handshake failed: …")
  static let tlsClientLeftEarly = MessageDefinition(
    "VB-TLS-017", .warning, "the client closed the connection before it was admitted")
  static let confirmationNotEncrypted = MessageDefinition(
    "VB-TLS-018", .warning, "cannot encrypt the confirmation for the client")
  static let confirmationNotSent = MessageDefinition(
    "VB-TLS-019", .warning, "cannot send the confirmation to the client: …")
  static let tlsSessionNotCreated = MessageDefinition(
    "VB-TLS-020", .warning, "cannot create a TLS session: …",
    "Memory is short: GnuTLS could not allocate a session. Stop other programs, or lower `max_clients`."
  )
}

// MARK: Why a handshake or a session failed

extension MessageDefinition {
  static let gnutlsError = MessageDefinition("VB-TLS-021", .warning, "GnuTLS: …")
  static let connectionError = MessageDefinition("VB-TLS-022", .warning, "connection error: …")
  static let peerSpeaksNoTLS = MessageDefinition(
    "VB-TLS-023", .warning, "the peer does not speak TLS",
    "A program of another kind, or a port scanner, connected to the TLS port.")
  static let peerSpeaksPlainRPC = MessageDefinition(
    "VB-TLS-024", .warning, "the peer speaks libvirt's protocol without TLS",
    "The client uses transport `tcp` with the TLS port. Use `tls`, or the port of `tcp_port`.")
  static let peerClosedDuringHandshake = MessageDefinition(
    "VB-TLS-025", .warning, "the peer closed the connection during the handshake",
    "Most often the client does not accept the server's certificate; its own message has the reason. `virtbrokerd --check-tls --connect HOST` checks the certificate with the name that clients use."
  )
  static let peerSentAlert = MessageDefinition(
    "VB-TLS-026", .warning, "the peer sent the TLS alert '…'",
    "The alert is the peer's reason. During a handshake it most often concerns the certificate that the peer received."
  )
  static let peerSentOnlyWarnings = MessageDefinition(
    "VB-TLS-027", .warning,
    "the peer sent only warning alerts during the handshake, the last one '…'")
  static let peerSentLongHandshake = MessageDefinition(
    "VB-TLS-028", .warning, "the peer sent more than … KiB during the handshake",
    "No TLS library needs so much: the peer tries to occupy the broker.")
  static let peerDidNotAnswer = MessageDefinition(
    "VB-TLS-029", .warning, "the peer did not answer in time")
  static let recordTooLong = MessageDefinition(
    "VB-TLS-030", .warning, "TLS record longer than the protocol allows",
    "Data was damaged on the network, or a device interferes with the connection.")
  static let recordForged = MessageDefinition(
    "VB-TLS-031", .warning, "TLS record failed authentication",
    "Data was changed on the network: it was damaged, or a device interferes with the connection.")
  static let recordEmpty = MessageDefinition(
    "VB-TLS-032", .warning, "the peer sent an empty TLS handshake message or alert",
    "No TLS library sends one. The broker closes the connection because GnuTLS may not return from it."
  )
  static let recordFlood = MessageDefinition(
    "VB-TLS-033", .warning, "the peer sent more than … TLS records without application data",
    "The peer floods the broker with alerts, key updates or tickets. The limit grows by one each second."
  )
  static let recordInterleaved = MessageDefinition(
    "VB-TLS-034", .warning, "the peer sent application data inside a TLS handshake message")
  static let renegotiationRequested = MessageDefinition(
    "VB-TLS-035", .warning, "the peer requested TLS renegotiation, which is not supported",
    "A client of TLS 1.2 that is not libvirt's. libvirt's clients never do this.")
}
