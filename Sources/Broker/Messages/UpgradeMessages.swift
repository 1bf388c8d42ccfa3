// VB-SNAP-010 to 029: the channel to the next process, and the memory of a snapshot.
import Streams

extension MessageDefinition {
  static let noHandoverChannel = MessageDefinition(
    "VB-SNAP-010", .error, "cannot make a channel to the new process: …")
  static let handoverNotSent = MessageDefinition(
    "VB-SNAP-011", .error, "cannot send to the other process: …")
  static let handoverMessageCut = MessageDefinition(
    "VB-SNAP-012", .error, "a message of the other process, or its descriptors, did not fit",
    "The process may have reached its limit of open descriptors (LimitNOFILE).")
  static let noSnapshotMemory = MessageDefinition(
    "VB-SNAP-013", .error, "cannot make memory for the snapshot: …")
  static let snapshotNotSealed = MessageDefinition(
    "VB-SNAP-014", .error, "the snapshot could still be changed")
  static let snapshotDamaged = MessageDefinition("VB-SNAP-015", .error, "the snapshot is damaged")
}
