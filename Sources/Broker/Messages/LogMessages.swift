// VB-LOG: what the log says about itself.
import Streams

extension MessageDefinition {
  /// It is written with the severity of the lines that were left out.
  static let logLinesLeftOut = MessageDefinition(
    "VB-LOG-020", .info, "… left out, similar to: …",
    "One place in the program wrote more than 20 lines about this client, or 500 in all, within 5 seconds. The "
      + "message has the severity of those lines.")
}
