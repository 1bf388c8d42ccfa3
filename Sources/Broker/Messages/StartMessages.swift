// VB-START: what the broker needs to start. The daemon has VB-START-001 to 019.
import Streams

extension MessageDefinition {
  static let noEventLoop = MessageDefinition(
    "VB-START-020", .error, "cannot create the event loop: no usable kernel interface",
    "The kernel or a sandbox denies epoll.")
  static let nothingToListenOn = MessageDefinition(
    "VB-START-021", .error, "no listener is configured", "A defect of the broker. Report it.")
  static let certificatesNotConfigured = MessageDefinition(
    "VB-START-022", .error, "a listener requires TLS, and no certificates are configured",
    "A defect of the broker. Report it.")
}
