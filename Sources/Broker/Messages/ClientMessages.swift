// VB-CLI: clients connect and disconnect. The session has VB-CLI-010 and above.
import Streams

extension MessageDefinition {
  static let clientConnected = MessageDefinition("VB-CLI-001", .info, "… connected to …")
  static let clientDisconnected = MessageDefinition("VB-CLI-002", .info, "… disconnected: …")
  static let clientConnectionFailed = MessageDefinition(
    "VB-CLI-003", .info, "connection failed: …")
  static let packetBrokenOff = MessageDefinition(
    "VB-CLI-004", .warning, "the backend closed the connection in the middle of a packet",
    "The backend died in the middle of a packet too large to be held. Its client had to be disconnected."
  )
  static let closedWhileNotRead = MessageDefinition(
    "VB-CLI-005", .info, "closed by the client while the broker was not reading from it",
    "The client disconnected, or its host vanished, while a backend accepted nothing of what it had sent."
  )
  static let pendingConnectionClosed = MessageDefinition(
    "VB-CLI-006", .debug, "connection to … from … closed before it was admitted: …")
  static let closedWhileWaiting = MessageDefinition(
    "VB-CLI-007", .info, "closed by the client while it waited for a place")
}
