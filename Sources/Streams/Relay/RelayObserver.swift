// What the relay reports for metrics, audit records and rates.

/// Receives the results of calls and streams, and sets the rates of streams.
public protocol RelayObserver: AnyObject {
  /// Where the relay counts answers; nil: nowhere. Read once, when the relay is made.
  var answerCounts: AnswerCounts? { get }
  /// Whether `answered` is called for calls with this access. Read once, when the relay is made. `answered` is always
  /// called for calls that open streams.
  func wantsAnswers(to access: Access) -> Bool
  /// A daemon has answered a call of the client.
  func answered(_ call: Call, _ status: PacketStatus)
  /// The stream of a call has ended, or was not opened. `object`: what it belongs to, where that is known.
  func ended(_ call: Call, object: StreamObject?, _ result: StreamResult)
  /// The rates for a stream of this kind that this client opens now.
  func meters(for kind: StreamKind) -> [Meter]
}

extension RelayObserver {
  public var answerCounts: AnswerCounts? { nil }
  public func wantsAnswers(to access: Access) -> Bool { false }
  public func answered(_ call: Call, _ status: PacketStatus) {}
  public func ended(_ call: Call, object: StreamObject?, _ result: StreamResult) {}
  public func meters(for kind: StreamKind) -> [Meter] { [] }
}
