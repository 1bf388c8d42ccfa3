// VB-RUN: how the broker runs and stops. VB-RUN-030 and up; signals are the daemon's.
public import Streams

extension MessageDefinition {
  static let limitsChanged = MessageDefinition(
    "VB-RUN-030", .info, "max_clients is now …, max_anonymous_clients …")
  static let noClientForSeconds = MessageDefinition(
    "VB-RUN-031", .info, "no client for … s; stopping")
  static let stopping = MessageDefinition("VB-RUN-032", .info, "stopping: … connected")
  static let clientsCutOff = MessageDefinition(
    "VB-RUN-033", .warning,
    "… still had calls or streams under way after … s; closing their connections",
    "The time that clients have to finish when the broker stops is over.")
  static let draining = MessageDefinition(
    "VB-RUN-040", .info, "draining …: … connected; no new client is accepted",
    "An administrator has called `virtbroker drain`. The broker ends when the last client has left."
  )
  static let idleClientsClosed = MessageDefinition(
    "VB-RUN-041", .info, "closed the connections of … for the drain")
  static let drainLimitChanged = MessageDefinition(
    "VB-RUN-042", .info, "the drain continues …")
  static let drained = MessageDefinition(
    "VB-RUN-043", .info, "the drain has ended: no client is left")
  static let drainTimeUp = MessageDefinition(
    "VB-RUN-044", .warning, "the time of the drain is up with … connected; stopping",
    "These clients have not left within the time of `virtbroker drain --timeout`.")
  public static let reloadBySignal = MessageDefinition("VB-RUN-035", .info, "signal HUP")
  static let reloadByAdministrator = MessageDefinition(
    "VB-RUN-036", .info, "an administrator's request")
  static let directoryNotWatched = MessageDefinition(
    "VB-RUN-034", .debug, "cannot watch … for changes: …; its files are checked every minute",
    "The kernel cannot watch that directory. Send signal HUP after each change to use it at once.")
}
