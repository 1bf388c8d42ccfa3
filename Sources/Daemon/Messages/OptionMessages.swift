// VB-OPT: the command line of virtbrokerd.
import Streams

extension MessageDefinition {
  static let unexpectedArgument = MessageDefinition(
    "VB-OPT-001", .error, "unexpected argument '…'; this program takes options only",
    "Options begin with a dash: `virtbrokerd --help`.")
  static let invalidTimeout = MessageDefinition(
    "VB-OPT-002", .error, "--timeout: expected a number of seconds from 0 to …, found '…'",
    "Use whole seconds without a unit.")
  static let connectWithoutCheckTLS = MessageDefinition(
    "VB-OPT-003", .error, "--connect requires --check-tls",
    "Write `virtbrokerd --check-tls --connect HOST`.")
}
