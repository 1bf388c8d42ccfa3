// VB-AUDIT: the audit cannot be written.
import Streams

extension MessageDefinition {
  static let cannotOpenAuditFile = MessageDefinition(
    "VB-AUDIT-001", .error, "audit_log: cannot open the audit file …: …",
    "At start the broker ends; on signal HUP it continues with the file it had. Under systemd only `/run` and "
      + "`/var/log/libvirt` are writable; another directory needs a drop-in with `ReadWritePaths=`."
  )
  static let cannotConnectToAuditJournal = MessageDefinition(
    "VB-AUDIT-002", .error, "audit_log: cannot connect to the journal at …: …",
    "`audit_log` is `\"journald\"`, and no journal runs here. Use a file.")
  static let auditFileKept = MessageDefinition(
    "VB-AUDIT-003", .error, "…; audit records are still written to the file that was open before",
    "With `user`, let logrotate create the new file for that user (`create`), as `/etc/logrotate.d/virtbroker` does."
  )
  static let auditRecordsLost = MessageDefinition(
    "VB-AUDIT-004", .error, "audit records are lost: …",
    "Logged at most once a minute. The next record that can be written is `records_dropped` with their number."
  )
  static let cannotWriteAuditFile = MessageDefinition(
    "VB-AUDIT-005", .error, "cannot write to …: …", "The disk is full or has a fault.")
  static let auditOutputTooSlow = MessageDefinition(
    "VB-AUDIT-006", .error, "the output did not accept the queued records within … s",
    "The disk or pipe was too slow when the broker stopped.")
  static let cannotSendToAuditJournal = MessageDefinition(
    "VB-AUDIT-007", .error, "the journal does not accept records: …",
    "The journal was restarted. The next records connect again.")
}
