// When a broker ends.

/// A broker runs until it is stopped or drained, or until it has had no client for the idle time. A drain ends with the
/// last client, or becomes a stop when its time is up. After a stop the broker ends with its last client, or when the
/// time for that is up.
///
///     running ──── drain ────▶ draining ──── last client left ────▶ over
///        │                        │                                  ▲
///        └── stop, idle time ──▶ stopping ── last client, time up ───┘
public struct Lifetime: Sendable {
  public enum State: Equatable, Sendable {
    /// With the time when it stops because it has no client; nil: it has, or need not stop.
    case running(idleUntil: Double?)
    /// No new client is accepted. With the time when it stops; nil: there is no time limit.
    case draining(until: Double?)
    case stopping(until: Double)
    case over
  }

  /// What the owner has to do because the deadline has passed.
  public enum TimeUp: Equatable, Sendable {
    case nothing
    /// There was no client for the idle time: the broker stops.
    case idle
    /// The time of the drain is up: the broker stops.
    case drained
    /// The time of the stop is up: the broker is over.
    case stopped
  }

  public private(set) var state = State.running(idleUntil: nil)

  public init() {}

  public var acceptsClients: Bool { if case .running = state { true } else { false } }
  public var isDraining: Bool { if case .draining = state { true } else { false } }
  /// It stops, or is over. A draining broker does not stop yet.
  public var isStopping: Bool {
    switch state {
    case .running, .draining: false
    case .stopping, .over: true
    }
  }

  /// When `timeUp` is due; nil: not at all.
  public var deadline: Double? {
    switch state {
    case .running(let until): until
    case .draining(let until): until
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
    case .draining, .stopping, .over: break
    }
  }

  /// A client has left, and so many are there.
  public mutating func clientLeft(leaving count: Int) {
    if case .draining = state, count == 0 { state = .over }
    if case .stopping = state, count == 0 { state = .over }
  }

  /// Accepts nothing more, and ends with the last client. Repeated, it changes the time limit. A broker that stops
  /// continues to stop.
  /// - Parameter seconds: after which it stops; 0: there is no limit; nil: the limit stays, and at first there is none.
  public mutating func drain(clients count: Int, seconds: Double?, at now: Double) {
    switch state {
    case .running, .draining:
      var until = isDraining ? deadline : nil
      if let seconds { until = seconds > 0 ? now + seconds : nil }
      state = count == 0 ? .over : .draining(until: until)
    case .stopping, .over: break
    }
  }

  /// Accepts nothing more, and ends with the last client. A second stop ends it at once.
  public mutating func stop(clients count: Int, seconds: Double, at now: Double) {
    switch state {
    case .running, .draining: state = count == 0 ? .over : .stopping(until: now + seconds)
    case .stopping, .over: state = .over
    }
  }

  /// The deadline has passed.
  public mutating func timeUp() -> TimeUp {
    switch state {
    case .running(let until): return until == nil ? .nothing : .idle
    case .draining(let until): return until == nil ? .nothing : .drained
    case .stopping:
      state = .over
      return .stopped
    case .over: return .nothing
    }
  }
}
