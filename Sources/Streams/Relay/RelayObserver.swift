// The interface of the relay for metrics, audit records and rates.

/// Receives the results of calls and streams, and sets the rates of streams.
public protocol RelayObserver: AnyObject {
  /// The object that counts the relay's answers; nil: they are not counted. Read once, when the relay is created.
  var answerCounts: AnswerCounts? { get }
  /// Whether `answered` is called for calls with this access. Read once, when the relay is created. `answered` is
  /// always called for calls that open streams.
  func wantsAnswers(to access: Access) -> Bool
  /// A daemon has answered a call of the client.
  func answered(_ call: Call, _ status: PacketStatus)
  /// The stream of a call has ended, or was not opened. `object`: the object that it belongs to; nil: not known.
  func ended(_ call: Call, object: StreamObject?, _ result: StreamResult)
  /// The rates for a stream of this kind that the client opens now.
  func meters(for kind: StreamKind) -> [Meter]
}

extension RelayObserver {
  public var answerCounts: AnswerCounts? { nil }
  public func wantsAnswers(to access: Access) -> Bool { false }
  public func answered(_ call: Call, _ status: PacketStatus) {}
  public func ended(_ call: Call, object: StreamObject?, _ result: StreamResult) {}
  public func meters(for kind: StreamKind) -> [Meter] { [] }
}
