// A message with its arguments.

/// What an administrator reads: a definition whose placeholders are filled in.
///
/// An argument can itself be a message, such as the cause of a failure. The identifiers of both are kept.
public struct Message: Error, Sendable, Equatable, CustomStringConvertible {
  /// The severity of the outermost definition.
  public let severity: Severity
  /// From the outermost definition to the innermost cause.
  public private(set) var identifiers: [String]
  /// The text without identifiers: what a client is told.
  public private(set) var text: String

  /// - Parameter arguments: one for each placeholder of the definition, in its order.
  public init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
    severity = definition.severity
    identifiers = [definition.identifier]
    let parts = definition.text.split(separator: "…", omittingEmptySubsequences: false)
    assert(
      parts.count == arguments.count + 1, "\(definition.identifier): wrong number of arguments")
    var text = String(parts.first ?? "")
    for (argument, part) in zip(arguments, parts.dropFirst()) {
      if let cause = argument as? Message { identifiers += cause.identifiers }
      text += argument.description
      text += part
    }
    self.text = text
  }

  /// Several messages in one sentence, separated by semicolons. Its severity is the highest among them.
  public init(joining messages: [Message]) {
    severity = messages.map(\.severity).max() ?? .info
    identifiers = messages.flatMap(\.identifiers)
    text = messages.map(\.text).joined(separator: "; ")
  }

  public var description: String { text }

  /// The text behind its identifiers, as it stands in the log: `VB-CLI-002 VB-PKT-001: client 7 disconnected: …`.
  public var line: String {
    identifiers.isEmpty ? text : "\(identifiers.joined(separator: " ")): \(text)"
  }

  /// The same message with words in front of its text, such as the name of the client that it is about.
  public func prefixed(_ words: String) -> Message {
    var message = self
    message.text = words + text
    return message
  }

  /// The same message with at most so many characters of its text.
  public func shortened(to count: Int) -> Message {
    var message = self
    message.text = String(text.prefix(count))
    return message
  }

  public func has(_ definition: MessageDefinition) -> Bool {
    identifiers.contains(definition.identifier)
  }
}
