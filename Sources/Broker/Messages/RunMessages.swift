// VB-RUN: the report that signal USR1 requests.
import Streams

extension MessageDefinition {
  static let brokerState = MessageDefinition(
    "VB-RUN-020", .warning, "state: …",
    "The response to `kill -USR1`: one line for the broker, then one for each listener, client, backend and call. "
      + "Whatever has waited long is a reason to look closer.")
  static let listenerState = MessageDefinition("VB-RUN-021", .warning, "state: …: …")
  static let clientState = MessageDefinition(
    "VB-RUN-022", .warning, "state: …: …",
    "`queued for it` that stays above 0: the client does not read what is sent to it. `received from it and not "
      + "relayed`: its calls are at `max_client_requests`, or its backend does not accept them.")
  static let clientIdentity = MessageDefinition("VB-RUN-023", .warning, "state: …: is …")
  static let upstreamState = MessageDefinition(
    "VB-RUN-024", .warning, "state: …: … at …, '…': …",
    "A connection to a backend and how far its opening has come. `queued for it` that stays above 0: the backend does "
      + "not read what is sent to it.")
  static let callState = MessageDefinition(
    "VB-RUN-025", .warning, "state: …: call … … at …: …, begun … s ago…",
    "A call that the backend has not answered, or an open stream.")
}
