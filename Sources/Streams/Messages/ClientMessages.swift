// VB-CLI: how a client's session proceeds and why it ends. VB-CLI-001 to 009 are the broker's.

extension MessageDefinition {
  // MARK: Why a connection ends

  public static let closedByClient = MessageDefinition(
    "VB-CLI-010", .info, "closed by the client")
  static let lastReplyNotRead = MessageDefinition(
    "VB-CLI-011", .info, "the client did not read the last reply in time")
  static let backendConnectionLost = MessageDefinition(
    "VB-CLI-012", .info, "the connection to its backend is lost",
    "The backend that the client opened has died or was restarted. The client received an error for each call and "
      + "stream under way, then its connection was closed, as a direct connection to that backend would have been. "
      + "VB-UPS-004 before it has the reason.")
  static let keepAliveTimeout = MessageDefinition(
    "VB-CLI-013", .warning,
    "no answer to … keepalive PINGs (keepalive_interval … s, keepalive_count …)",
    "The client, its host or the network is down. If clients are paused for long, for example in a debugger, raise "
      + "`keepalive_interval` or `keepalive_count`.")
  static let turnedAwayWithoutCall = MessageDefinition(
    "VB-CLI-014", .info, "turned away, and it sent no call")
  public static let brokerStopping = MessageDefinition(
    "VB-CLI-015", .info, "the broker is stopping")
  public static let idleWhileDraining = MessageDefinition(
    "VB-CLI-016", .info, "the client is idle, and the broker is draining")

  // MARK: Keepalive

  static let keepAlivePing = MessageDefinition(
    "VB-CLI-020", .debug, "sending a keepalive PING; … unanswered so far")
}
