// Messages with a text of the test's choice.
import Streams

@testable import Broker

extension MessageDefinition {
  static let testDetail = MessageDefinition("VB-TEST-001", .debug, "…")
  static let testWarning = MessageDefinition("VB-TEST-002", .warning, "…")
  static let testError = MessageDefinition("VB-TEST-003", .error, "…")
}
