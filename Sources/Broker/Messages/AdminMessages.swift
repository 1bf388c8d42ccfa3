// VB-ADMIN: the admin socket, and errors that virt-admin and virtbroker receive. Where libvirt has an error for the
// case, the text is libvirt's, because scripts compare it. Administrators' programs receive the text without its
// identifier.
import Streams

extension MessageDefinition {
  // MARK: Administrators

  static let adminListening = MessageDefinition(
    "VB-ADMIN-001", .info, "listening on … (administration)")
  static let administratorConnected = MessageDefinition("VB-ADMIN-002", .info, "… connected")
  static let administratorDisconnected = MessageDefinition(
    "VB-ADMIN-003", .info, "… disconnected: …")
  static let administratorRefused = MessageDefinition(
    "VB-ADMIN-004", .warning, "the admin socket serves only uid …; refused uid …, pid …",
    "Run virt-admin and `virtbroker` as the user that started the broker.")
  static let unknownAdministratorRefused = MessageDefinition(
    "VB-ADMIN-005", .warning,
    "the admin socket serves only uid …; refused a process that the kernel does not identify",
    "The process ended before it was accepted, or it comes from another PID namespace.")
  static let adminLimitReached = MessageDefinition(
    "VB-ADMIN-006", .warning,
    "admin_max_clients (…) is reached; further administrators wait until one disconnects",
    "A program holds many connections to the admin socket: `virt-admin client-list admin`. End it, or raise "
      + "`admin_max_clients`.")

  // MARK: Why an administrator's connection ends

  static let closedByPeer = MessageDefinition(
    "VB-ADMIN-007", .info, "closed by the administrator's program")
  static let closedByAdministrator = MessageDefinition(
    "VB-ADMIN-008", .info, "closed by an administrator")
  static let adminConnectionFailed = MessageDefinition(
    "VB-ADMIN-009", .info, "connection failed: …")
  static let adminKeepAliveTimeout = MessageDefinition(
    "VB-ADMIN-010", .warning,
    "no answer to … keepalive PINGs (admin_keepalive_interval … s, admin_keepalive_count …)",
    "The administrator's program hangs. If it is stopped for long, raise the two keys.")

  // MARK: What administrators do

  static let stopRequested = MessageDefinition(
    "VB-ADMIN-011", .info, "stopping: requested by an administrator")
  static let timeoutChanged = MessageDefinition(
    "VB-ADMIN-012", .info, "… sets the timeout to … s")
  static let logSettingChanged = MessageDefinition(
    "VB-ADMIN-013", .info, "an administrator sets … to '…'")
  static let totalRateChanged = MessageDefinition(
    "VB-ADMIN-014", .info, "an administrator sets the … rate of all clients together to …")
  static let identityRateChanged = MessageDefinition(
    "VB-ADMIN-015", .info, "an administrator sets the … rate of each '…' to …")
  static let streamEnded = MessageDefinition(
    "VB-ADMIN-016", .warning, "…: stream …: …")
  static let streamEndedByAdministrator = MessageDefinition(
    "VB-ADMIN-017", .error, "the stream was ended by an administrator",
    "The client of the stream receives this text.")
  static let streamEndedWithReason = MessageDefinition(
    "VB-ADMIN-018", .error, "the stream was ended by an administrator: …",
    "The client of the stream receives this text, with the administrator's reason.")

  // MARK: Errors of virt-admin

  static let unsupportedAdminFlags = MessageDefinition(
    "VB-ADMIN-030", .error, "unsupported flags (0x…) in function …",
    "virt-admin is newer than the protocol that the broker supports.")
  static let noSuchServer = MessageDefinition(
    "VB-ADMIN-031", .error, "No server named '…'",
    "There are two servers: `virtproxyd`, so named because existing scripts use it, and `admin`.")
  static let noMatchingServer = MessageDefinition(
    "VB-ADMIN-032", .error, "no server with matching name '…' found",
    "There are two servers: `virtproxyd`, so named because existing scripts use it, and `admin`.")
  static let noSuchClient = MessageDefinition(
    "VB-ADMIN-033", .error, "No client with matching ID '…'",
    "The client has disconnected. `virt-admin client-list virtproxyd` shows connected clients.")
  static let noMatchingClient = MessageDefinition(
    "VB-ADMIN-034", .error, "no client with matching id '…' found",
    "The client has disconnected. `virt-admin client-list virtproxyd` shows connected clients.")
  static let tooManyClientsForList = MessageDefinition(
    "VB-ADMIN-035", .error, "there are … clients, and a list has at most …",
    "The protocol cannot transfer a longer list. Use `virtbroker clients`.")
  static let adminParameterRepeated = MessageDefinition(
    "VB-ADMIN-036", .error, "parameter '…' occurs multiple times")
  static let minimumAboveMaximum = MessageDefinition(
    "VB-ADMIN-037", .error, "minWorkers cannot be larger than maxWorkers",
    "Change both in one `virt-admin srv-threadpool-set`.")
  static let maximumSwitchedToZero = MessageDefinition(
    "VB-ADMIN-038", .error, "maxWorkers must not be switched from zero to non-zero and vice versa",
    "As in libvirt. Set `max_workers` or `admin_max_workers` in the configuration.")
  static let limitAboveLimit = MessageDefinition(
    "VB-ADMIN-039", .error, "… (…) must not be more than … (…)",
    "Lower the one or raise the other, as in the configuration.")
  static let adminLimitOfZero = MessageDefinition(
    "VB-ADMIN-040", .error, "nclients_max of 0 would lock every administrator out",
    "Use at least 1.")
  static let logNotChangeable = MessageDefinition(
    "VB-ADMIN-041", .error, "the log cannot be changed here", "Set it in the configuration.")
  static let noTLSService = MessageDefinition(
    "VB-ADMIN-042", .error, "no tls service found, unable to update tls files",
    "The broker does not serve TLS, or the server is not `virtproxyd`.")
  static let newCertificatesRefused = MessageDefinition(
    "VB-ADMIN-043", .error, "the new certificates are refused: …",
    "The current ones stay in use. Correct the files and try again.")

  // MARK: Errors of virtbroker

  static let noSuchStream = MessageDefinition(
    "VB-ADMIN-050", .error, "client … has no stream …/…", "The stream has ended.")
  static let kindWithoutRate = MessageDefinition(
    "VB-ADMIN-051", .error, "'…' has no rate: expected console, upload, download or migration",
    "The first argument of `virtbroker limit` is a kind of stream.")
  static let invalidRate = MessageDefinition(
    "VB-ADMIN-052", .error,
    "'…' is no rate: expected bytes a second like 500K, 10M or 1.5G, or 'off'",
    "Write it without `/s` and with a capital letter.")
  static let defaultWithoutIdentity = MessageDefinition(
    "VB-ADMIN-053", .error,
    "'default' requires an identity; the rate of all clients is a number or 'off'",
    "Name the identity with `--identity`.")
  static let noRateOfIdentity = MessageDefinition(
    "VB-ADMIN-054", .error, "there is no … rate for '…'",
    "`virtbroker limit` shows the rates. The identity must be the same, letter by letter.")
  static let emptyIdentity = MessageDefinition(
    "VB-ADMIN-055", .error, "an empty identity matches no client")
  static let tooManyRates = MessageDefinition(
    "VB-ADMIN-056", .error, "there are already … rates for identities, which is the maximum",
    "Use the wildcards `*` and `?`, or remove rates with `default`.")
  static let drainTimeTooLong = MessageDefinition(
    "VB-ADMIN-057", .error, "a drain has a time limit of at most … s, found …")
  static let drainWhileStopping = MessageDefinition(
    "VB-ADMIN-058", .error, "the broker is already stopping",
    "It ends within seconds, or at once after another signal TERM.")
}
