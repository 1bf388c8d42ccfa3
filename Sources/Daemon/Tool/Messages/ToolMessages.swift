// VB-TOOL: errors and warnings of the tool virtbroker.
import Streams

extension MessageDefinition {
  // MARK: The connection to the broker

  static let toolPathTooLong = MessageDefinition(
    "VB-TOOL-001", .error, "the path '…' is longer than a UNIX socket allows",
    "A path has at most 107 bytes. Use a shorter directory (`unix_sock_dir`).")
  static let toolSocketFailed = MessageDefinition(
    "VB-TOOL-002", .error, "cannot create a socket: …")
  static let cannotConnectToBroker = MessageDefinition(
    "VB-TOOL-003", .error, "cannot connect to '…': …",
    "The broker is not running, or its admin socket is elsewhere: name it with `--socket`. `Permission denied`: run "
      + "`virtbroker` as the user that started the broker.")
  static let trySocketOption = MessageDefinition(
    "VB-TOOL-004", .info,
    "if the broker's sockets are elsewhere (unix_sock_dir), name its admin socket with --socket")
  static let tryOtherSocket = MessageDefinition(
    "VB-TOOL-005", .info, "there is another admin socket: try …")
  static let brokerClosedConnection = MessageDefinition(
    "VB-TOOL-006", .error, "'…' closed the connection",
    "The admin socket serves only the user that started the broker. Run `virtbroker` as that user.")
  static let brokerConnectionFailed = MessageDefinition(
    "VB-TOOL-007", .error, "the connection to '…' failed: …")
  static let brokerDoesNotAnswer = MessageDefinition(
    "VB-TOOL-008", .error, "'…' did not answer within … s",
    "The broker hangs. Look at its log, and report it.")
  static let notVirtbrokerd = MessageDefinition(
    "VB-TOOL-009", .error, "the daemon at '…' is not virtbrokerd, or an older version of it",
    "The socket belongs to libvirtd or virtproxyd. Name the broker's admin socket with `--socket`.")
  static let notLibvirtProtocol = MessageDefinition(
    "VB-TOOL-010", .error, "the program at '…' does not use libvirt's protocol",
    "Name the broker's admin socket with `--socket`.")
  static let undecodableAnswer = MessageDefinition(
    "VB-TOOL-011", .error, "cannot decode the answer from '…'",
    "The versions of `virtbroker` and virtbrokerd are not compatible. Restart or upgrade virtbrokerd."
  )
  static let repeatedPage = MessageDefinition(
    "VB-TOOL-012", .error, "'…' repeats a part of its answer",
    "The versions of `virtbroker` and virtbrokerd are not compatible. Restart or upgrade virtbrokerd."
  )
  static let noStatusRow = MessageDefinition(
    "VB-TOOL-013", .error, "the broker returned no status",
    "The versions of `virtbroker` and virtbrokerd are not compatible. Restart or upgrade virtbrokerd."
  )

  // MARK: Refusals of the broker

  static let callRefused = MessageDefinition(
    "VB-TOOL-014", .error, "the broker refused the call: …",
    "The reason is explained under VB-ADMIN.")
  static let callRefusedWithoutReason = MessageDefinition(
    "VB-TOOL-015", .error, "'…' refused the call without a reason")

  // MARK: The command line

  static let invalidStreamName = MessageDefinition(
    "VB-TOOL-016", .error, "expected a stream as CLIENT/SERIAL, found '…'",
    "Use the name that `virtbroker streams` shows, such as `7/42`.")
  static let reasonTooLong = MessageDefinition(
    "VB-TOOL-017", .error, "the reason is longer than … bytes")
  static let invalidInterval = MessageDefinition(
    "VB-TOOL-018", .error, "expected an interval from … to 3600 seconds, found …")
  static let invalidCount = MessageDefinition(
    "VB-TOOL-019", .error, "expected a count of 0 or more, found …")
  static let unknownColumn = MessageDefinition(
    "VB-TOOL-020", .error, "… have no column '…'; expected one of …")
  static let identityWithoutRate = MessageDefinition(
    "VB-TOOL-021", .error, "--identity requires a kind and a rate")
  static let wordTooLong = MessageDefinition(
    "VB-TOOL-022", .error, "'…' is too long for a kind or a rate")
  static let identityTooLong = MessageDefinition(
    "VB-TOOL-023", .error, "the identity is longer than … bytes")
  static let unknownKind = MessageDefinition(
    "VB-TOOL-024", .error, "there is no rate for streams of the kind '…'",
    "The kinds are `console`, `upload`, `download` and `migration`.")
  static let identityMatchesNoClient = MessageDefinition(
    "VB-TOOL-025", .warning,
    "'…' matches no connected client; the rate applies to clients that connect later; 'virtbroker clients' shows the "
      + "identities of connected clients",
    "The name is mistyped, or the client is not connected now. The name must be the same, letter by letter."
  )
  static let invalidDrainTimeout = MessageDefinition(
    "VB-TOOL-026", .error, "expected --timeout from 1 to … seconds, or 0 for no time limit; found …"
  )
  static let noDrainRow = MessageDefinition(
    "VB-TOOL-027", .error, "the broker returned no result of the drain",
    "The versions of `virtbroker` and virtbrokerd are not compatible. Restart or upgrade virtbrokerd."
  )
}
