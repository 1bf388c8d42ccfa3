// VB-LIM: a configured limit is reached.
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
}
