// When a broker ends.

/// A broker runs until it is stopped, or until it has had no client for the idle time. After a stop it ends with its last
/// client, or when the time for that is up.
public struct Lifetime: Sendable {
  public enum State: Equatable, Sendable {
    /// With the time when it stops because it has no client; nil: it has, or need not stop.
    case running(idleUntil: Double?)
    case stopping(until: Double)
    case over
  }

  public private(set) var state = State.running(idleUntil: nil)

  public init() {}

  public var isStopping: Bool { if case .running = state { false } else { true } }

  /// When `timeUp` is due; nil: not at all.
  public var deadline: Double? {
    switch state {
    case .running(let until): until
    case .stopping(let until): until
    case .over: nil
    }
  }

  /// Clients have come or left, or the idle time is another.
  /// - Parameters:
  ///   - isEmpty: there is no client, and no administrator either.
  ///   - idleSeconds: 0 or less: it does not stop by itself.
  public mutating func occupancyChanged(isEmpty: Bool, idleSeconds: Int, at now: Double) {
    switch state {
    case .running:
      let mayIdle = isEmpty && idleSeconds > 0
      state = .running(idleUntil: mayIdle ? now + Double(idleSeconds) : nil)
    case .stopping, .over: break
    }
  }

  /// A client has left, and so many are there.
  public mutating func clientLeft(leaving count: Int) {
    if case .stopping = state, count == 0 { state = .over }
  }

  /// Accepts nothing more, and ends with the last client. A second stop ends it at once.
  public mutating func stop(clients count: Int, seconds: Double, at now: Double) {
    switch state {
    case .running: state = count == 0 ? .over : .stopping(until: now + seconds)
    case .stopping, .over: state = .over
    }
  }

  /// The deadline has passed.
  /// - Returns: whether it has to stop because it was idle.
  public mutating func timeUp() -> Bool {
    switch state {
    case .running(let until): return until != nil
    case .stopping:
      state = .over
      return false
    case .over: return false
    }
  }
}
