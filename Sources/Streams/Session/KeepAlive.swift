// Keepalive on one hop: detects a dead peer, and shows the peer that the broker is alive.

/// Liveness of one peer, in simulated or real time.
public struct KeepAlive: Sendable {
  /// The peer has requested keepalive. Before that no PING is sent, because a client without an event loop treats a
  /// PING as a protocol violation.
  public private(set) var isWanted = false
  /// When data was last received.
  public var heardAt = 0.0
  /// When the last PING was sent.
  private var pingedAt = 0.0
  /// PINGs sent since data was last received.
  public private(set) var unanswered = 0
  /// Bytes sent to the peer before the last check.
  private var sentBefore: UInt64 = 0
  /// When the next check is due; nil: never.
  public private(set) var lookAt: Double?

  public init() {}

  /// Writes or reads the state. Its times are on the machine's monotonic clock, which all processes share.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&isWanted)
    try coder.code(&heardAt)
    try coder.code(&pingedAt)
    try coder.code(&unanswered, in: 0...Int(Int32.max))
    try coder.code(&sentBefore)
    try coder.code(&lookAt, initially: 0) { (time, coder) throws(Violation) in try coder.code(&time)
    }
  }

  /// The result of a check.
  public enum Outcome: Equatable, Sendable {
    case nothing
    /// Send a PING. `unanswered` counts it and those before it; 0: it only shows that the broker is alive.
    case ping(unanswered: Int)
    case dead(unanswered: Int)
  }

  /// The traffic data that a check needs.
  public struct Traffic: Sendable {
    public var sent: UInt64 = 0
    /// Bytes queued for the peer.
    public var waiting = 0
    /// Bytes from the peer that are queued for other connections.
    public var waitingForOthers = 0
    /// The peer is not read, so its answer cannot be received.
    public var isPaused = false
    public init() {}
  }

  /// The peer has requested keepalive.
  public mutating func start(_ settings: KeepAliveSettings, at now: Double) {
    guard !isWanted else { return }
    isWanted = true
    heardAt = now
    adopt(settings, at: now)
  }

  /// Applies a new interval, or stops the checks if the interval is 0 or less.
  public mutating func adopt(_ settings: KeepAliveSettings, at now: Double) {
    guard isWanted else { return }
    lookAt = settings.intervalSeconds > 0 ? now + Double(settings.intervalSeconds) : nil
  }

  /// Applies the interval of another process to a peer whose next check was due then; nil: never.
  mutating func adopt(_ settings: KeepAliveSettings, since lookAt: Double?) {
    guard isWanted else { return }
    guard settings.intervalSeconds > 0 else {
      self.lookAt = nil
      return
    }
    self.lookAt = lookAt ?? heardAt + Double(settings.intervalSeconds)
  }

  /// Checks whether an interval has passed without a sign of life.
  public mutating func look(
    _ settings: KeepAliveSettings, _ traffic: Traffic, at now: Double
  ) -> Outcome {
    let interval = Double(settings.intervalSeconds)
    guard isWanted, interval > 0 else {
      lookAt = nil
      return .nothing
    }
    if heardAt > pingedAt { unanswered = 0 }
    let hasSentNothing = traffic.sent == sentBefore
    sentBefore = traffic.sent
    let silence = now - max(heardAt, pingedAt)
    // A timer can fire early by the difference between clocks.
    guard silence > interval - 0.001 else {
      lookAt = now + interval - silence
      // While a peer's upload is throttled, its PINGs wait behind data of which the kernel alone may hold megabytes.
      // A PING shows the peer that the broker is alive.
      let mustShowLife = hasSentNothing && traffic.waitingForOthers > 0 && traffic.waiting == 0
      return mustShowLife ? .ping(unanswered: 0) : .nothing
    }
    if traffic.isPaused {
      // The peer's answer cannot be read, so none counts as missing. The peer must still see that the broker is alive.
      unanswered = 0
    } else if unanswered >= settings.count {
      return .dead(unanswered: unanswered)
    } else {
      unanswered += 1
    }
    pingedAt = now
    lookAt = now + interval
    // A paused peer with queued data receives that as a sign of life.
    return traffic.isPaused && traffic.waiting > 0 ? .nothing : .ping(unanswered: unanswered)
  }
}
