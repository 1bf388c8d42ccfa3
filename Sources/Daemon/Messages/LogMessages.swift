// VB-LOG: where log lines go, and which. VB-LOG-020 and up are in Broker.
import Streams

extension MessageDefinition {
  static let invalidLogOutput = MessageDefinition(
    "VB-LOG-001", .error,
    "expected a log output as N:stderr, N:file:/path, N:syslog:name or N:journald with N from 1 to 4, found '…'",
    "Correct the value of `LIBVIRT_LOG_OUTPUTS`, or the argument of `virt-admin daemon-log-outputs`."
  )
  static let invalidLogFilter = MessageDefinition(
    "VB-LOG-002", .error, "expected a log filter as N:match with N from 1 to 4, found '…'",
    "Correct the value of `LIBVIRT_LOG_FILTERS`, or the argument of `virt-admin daemon-log-filters`."
  )
  static let invalidDebugLevel = MessageDefinition(
    "VB-LOG-003", .warning,
    "LIBVIRT_DEBUG: ignored: expected debug, info, warning, error or 1 to 4, found '…'",
    "Correct or unset the variable.")
  static let cannotOpenLogFile = MessageDefinition(
    "VB-LOG-004", .error, "log_outputs: cannot open the log file …: …",
    "`No such device or address`: it is a pipe that no program reads.")
  static let cannotLogToJournal = MessageDefinition(
    "VB-LOG-005", .error, "log_outputs: cannot log to the journal at …: …",
    "No journal runs here. Use `stderr` or a file.")
  static let logFileKept = MessageDefinition(
    "VB-LOG-006", .warning, "…; the log continues in the file that was open before",
    "With `user`, let logrotate create the new file for that user (`create`), as `/etc/logrotate.d/virtbroker` does."
  )
  static let logLinesLost = MessageDefinition(
    "VB-LOG-007", .warning, "… lost: this output did not accept them in time",
    "The pipe, disk or syslog of this output is too slow or refuses lines, and more than 1 MiB was queued for it."
  )
}
