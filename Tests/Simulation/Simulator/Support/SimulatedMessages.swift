// Messages of the simulated host.
@testable import Streams

extension MessageDefinition {
  static let simulated = MessageDefinition("VB-TEST-001", .info, "simulated")
  static let simulatedWarning = MessageDefinition("VB-TEST-002", .warning, "simulated warning")
}
