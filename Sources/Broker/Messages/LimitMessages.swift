// VB-LIM: a configured limit is reached. The session has VB-LIM-010.
import Streams

extension MessageDefinition {
  static let maxClientsReached = MessageDefinition(
    "VB-LIM-001", .warning,
    "max_clients (…) is reached by …: further clients wait until one disconnects",
    "Raise `max_clients`, or find out with `virtbroker clients` who holds the connections. Logged at most once a minute."
  )
  static let maxAnonymousClientsReached = MessageDefinition(
    "VB-LIM-002", .warning,
    "max_anonymous_clients (…) is reached by …: further clients of … wait until one authenticates or disconnects",
    "Clients connect and do not authenticate. `virtbroker clients` shows them. Logged at most once a minute."
  )
  static let addressLimitReached = MessageDefinition(
    "VB-LIM-003", .warning, "max_clients_per_address (…) is reached by …")
  static let identityLimitReached = MessageDefinition(
    "VB-LIM-004", .warning, "max_clients_per_identity (…) is reached by '…'")
  static let oldestUnauthenticatedClosed = MessageDefinition(
    "VB-LIM-005", .warning,
    "max_anonymous_clients is reached, and … has the most unauthenticated connections: closing the oldest of them",
    "That user or address holds connections without authenticating, while clients with fewer connections want to "
      + "connect. Logged at most once a minute.")
  static let placeGivenAway = MessageDefinition(
    "VB-LIM-006", .info, "another client needed its place (max_anonymous_clients)")
  static let totalBufferReached = MessageDefinition(
    "VB-LIM-007", .warning,
    "clients of … hold … bytes in the broker, and this one holds the most of them (max_total_buffer)",
    "They send to backends that accept nothing, or do not read their replies. Raise `max_total_buffer` if that is "
      + "intended.")
  static let cannotAccept = MessageDefinition(
    "VB-LIM-008", .warning, "cannot accept on …: …; further clients wait until one disconnects",
    "`Too many open files`: raise the limit of open files (`LimitNOFILE`).")
}
