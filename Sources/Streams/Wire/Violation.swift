// A peer's mistake, as a sentence.

/// What a peer did against the protocol: one refused call, or the end of that session, never of another.
///
/// It is meant for the log and for typed throws. A failure of the kernel or of ourselves is something else.
public struct Violation: Error, Equatable, Sendable, CustomStringConvertible {
  /// What was wrong, with the numbers that show it, ready to follow a colon in a log line.
  public let message: Message
  public var description: String { message.text }

  public init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
    message = Message(definition, arguments)
  }
}
