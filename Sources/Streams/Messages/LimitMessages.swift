// VB-LIM: a configured limit is reached. VB-LIM-001 to 009 are the broker's.

extension MessageDefinition {
  static let turnedAway = MessageDefinition(
    "VB-LIM-010", .warning, "turned away: …",
    "There are too many connections of a kind that is counted. Raise the limit named in the message, or find out with "
      + "`virtbroker clients` who holds the connections.")
}
