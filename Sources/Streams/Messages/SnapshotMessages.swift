// VB-SNAP: the state of a broker on its way to a new process. VB-SNAP-010 to 029 are the broker's.

extension MessageDefinition {
  static let snapshotTooShort = MessageDefinition(
    "VB-SNAP-001", .error, "the snapshot ends too early: at byte …, … bytes are missing of …")
  static let snapshotValueInvalid = MessageDefinition(
    "VB-SNAP-002", .error, "the snapshot has … where … is expected")
  static let snapshotDescriptorMissing = MessageDefinition(
    "VB-SNAP-003", .error, "the snapshot names the descriptor …, which did not come with it")
}
