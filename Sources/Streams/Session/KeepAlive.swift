// Keepalive on one hop: whether the peer still lives, and how it sees that we do.

/// Liveness of one peer, in simulated or real time.
public struct KeepAlive: Sendable {
  /// The peer asked for it. Until then no PING is sent: a client without an event loop would take one for a breach of
  /// the protocol.
  public private(set) var isWanted = false
  /// When something last came in.
  public var heardAt = 0.0
  /// When the last PING went out.
  private var pingedAt = 0.0
  /// PINGs since something last came in.
  public private(set) var unanswered = 0
  /// What had been sent to the peer at the last look.
  private var sentBefore: UInt64 = 0
  /// When to look next; nil: never.
  public private(set) var lookAt: Double?

  public init() {}

  /// What a look comes to.
  public enum Finding: Equatable, Sendable {
    case nothing
    /// The PING to send, with how many are unanswered by now. 0: it only shows that we live.
    case ping(unanswered: Int)
    case dead(unanswered: Int)
  }

  /// What a look has to know of the traffic.
  public struct Traffic: Sendable {
    public var sent: UInt64 = 0
    /// Bytes that wait for the peer.
    public var waiting = 0
    /// Bytes from the peer that are queued for other connections.
    public var waitingForOthers = 0
    /// The peer is not read, so that its answer could not be.
    public var isPaused = false
    public init() {}
  }

  /// The peer asked for keepalive.
  public mutating func start(_ settings: KeepAliveSettings, at now: Double) {
    guard !isWanted else { return }
    isWanted = true
    heardAt = now
    adopt(settings, at: now)
  }

  /// The interval is another from now on, or there is none any more.
  public mutating func adopt(_ settings: KeepAliveSettings, at now: Double) {
    guard isWanted else { return }
    lookAt = settings.intervalSeconds > 0 ? now + Double(settings.intervalSeconds) : nil
  }

  /// An interval may have passed without a sign of life.
  public mutating func look(
    _ settings: KeepAliveSettings, _ traffic: Traffic, at now: Double
  ) -> Finding {
    let interval = Double(settings.intervalSeconds)
    guard isWanted, interval > 0 else {
      lookAt = nil
      return .nothing
    }
    if heardAt > pingedAt { unanswered = 0 }
    let hasSentNothing = traffic.sent == sentBefore
    sentBefore = traffic.sent
    let silence = now - max(heardAt, pingedAt)
    // Timers may be early by what clocks differ.
    guard silence > interval - 0.001 else {
      lookAt = now + interval - silence
      // A peer whose upload is slowed down is heard as long as some of it is read, but its own PINGs stand behind the
      // rest, of which the kernel alone may hold megabytes: it would take us for dead if it heard nothing.
      let mustShowLife = hasSentNothing && traffic.waitingForOthers > 0 && traffic.waiting == 0
      return mustShowLife ? .ping(unanswered: 0) : .nothing
    }
    if traffic.isPaused {
      // Its answer could not be read, so none is missed; but it must see that we live.
      unanswered = 0
    } else if unanswered >= settings.count {
      return .dead(unanswered: unanswered)
    } else {
      unanswered += 1
    }
    pingedAt = now
    lookAt = now + interval
    // A paused peer that reads nothing either has enough to read already.
    return traffic.isPaused && traffic.waiting > 0 ? .nothing : .ping(unanswered: unanswered)
  }
}
