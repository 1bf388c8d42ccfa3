// VB-RUN: signals while virtbrokerd runs. VB-RUN-020 and up are in Broker.
import Streams

extension MessageDefinition {
  static let stopSignal = MessageDefinition("VB-RUN-001", .info, "signal …: stopping")
  static let stopSignalAgain = MessageDefinition(
    "VB-RUN-002", .warning, "signal … again: stopping without waiting for calls and streams")
  static let stopped = MessageDefinition("VB-RUN-003", .info, "stopped")
  static let reloadWhileStopping = MessageDefinition(
    "VB-RUN-004", .info, "signal HUP: ignored, the broker is stopping")

  // MARK: Reload

  static let configurationReloaded = MessageDefinition(
    "VB-RUN-005", .info, "configuration reloaded; changed: …")
  static let configurationUnchanged = MessageDefinition(
    "VB-RUN-006", .info, "configuration reloaded; nothing has changed")
  static let restartNeeded = MessageDefinition(
    "VB-RUN-007", .warning, "these keys take effect after a restart of virtbrokerd: …",
    "They cannot change while clients are connected. Run `systemctl restart virtbrokerd` when it suits."
  )
  static let tlsSettingsKept = MessageDefinition(
    "VB-RUN-008", .warning, "the new TLS settings are refused; keeping the current ones",
    "The line before has the reason. All other keys have changed.")
  static let reloadFailed = MessageDefinition(
    "VB-RUN-009", .error, "configuration reload failed: …; keeping the current settings",
    "Correct the file, check it with `virtbrokerd --check-config` and send signal HUP again.")
}
