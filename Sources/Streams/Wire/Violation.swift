// A peer's violation of the protocol.

/// A peer's violation of the protocol. It leads to one refused call or the end of that session, never of another.
///
/// It is for the log and for typed throws. Failures of the kernel or of the broker itself have other types.
public struct Violation: Error, Equatable, Sendable, CustomStringConvertible {
  /// The violation with its values. The text can follow a colon in a log line.
  public let message: Message
  public var description: String { message.text }

  public init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
    message = Message(definition, arguments)
  }
}
