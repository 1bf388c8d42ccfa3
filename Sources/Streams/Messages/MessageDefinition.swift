// Messages as they are documented: docs/messages.md is generated from these definitions.

/// How serious a message is: libvirt's log levels, with its numbers.
public enum Severity: Int, Sendable, Comparable {
  case debug = 1
  case info = 2
  case warning = 3
  case error = 4

  public static func < (a: Severity, b: Severity) -> Bool { a.rawValue < b.rawValue }
}

/// A message that an administrator can see. Each is defined once, by a static constant of this type in a folder
/// `Messages`.
///
/// An identifier, once released, keeps its meaning: scripts search for it. One that is no longer used is not given to
/// another message.
public struct MessageDefinition: Sendable, Equatable {
  /// `VB-AREA-NNN`.
  public let identifier: String
  public let severity: Severity
  /// The text; each `…` stands for an argument.
  public let text: String
  /// What to do about it. Empty where nothing has to be done, or where the text says it.
  public let advice: String

  public init(_ identifier: String, _ severity: Severity, _ text: String, _ advice: String = "") {
    self.identifier = identifier
    self.severity = severity
    self.text = text
    self.advice = advice
  }

  public static func == (a: MessageDefinition, b: MessageDefinition) -> Bool {
    a.identifier == b.identifier
  }
}
