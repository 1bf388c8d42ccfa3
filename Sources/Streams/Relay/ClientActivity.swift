// Whether a client is idle, so that a draining broker may close its connection.

/// What a client has under way, and what it would lose with its connection.
public struct ClientActivity: Equatable, Sendable {
  /// Calls that await their reply, and calls whose stream has not ended.
  public var calls = 0
  /// Bytes wait for the client or for a daemon, or have not been routed yet.
  public var hasQueued = false
  /// The client has something at a daemon that ends with the connection: event registrations, a close callback, a
  /// migration, a guest that the daemon destroys, descriptors.
  public var hasDependents = false
  /// When the client last sent a call or received a reply, on the owner's clock.
  public var calledAt = 0.0

  /// A client that works call by call sends its next call within this time.
  public static let quietSeconds = 5.0

  public init() {}

  /// From when the client is idle if nothing happens until then; nil: its connection is in use, however quiet.
  public var idleAt: Double? {
    guard calls == 0, !hasQueued, !hasDependents else { return nil }
    return calledAt + ClientActivity.quietSeconds
  }
}

extension Relay {
  public var activity: ClientActivity {
    var activity = ClientActivity()
    activity.calls = calls.count
    activity.calledAt = calledAt
    // The first reason is enough; the others take longer to find.
    guard calls.count == 0 else { return activity }
    activity.hasQueued = waitingForClient > 0 || waitingForUpstreams > 0 || !metered.isEmpty
    activity.hasDependents = upstreams.indices.contains { slot in
      upstreams[slot] != nil && !dependents(of: slot).isEmpty
    }
    return activity
  }
}
