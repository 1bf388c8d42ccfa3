// Accepting no new client while the connected ones continue.
import Streams

/// What a drain has found.
struct DrainCounts: Equatable {
  /// Clients that continue until they leave.
  var continuing: Int
  /// Clients whose connections were closed because they were idle.
  var idle: Int
}

extension Broker {
  /// Accepts no client from now on, closes the connections of idle clients, and makes `run` return when the last client
  /// has left. The admin socket and the metrics stay. Repeated, it only changes the time limit.
  ///
  /// - Parameter seconds: after which the broker stops as by `stop`; 0: there is no limit; nil: the limit of the drain
  ///   under way stays.
  /// - Returns: nil: the broker is stopping already.
  func drain(within seconds: Int?) -> DrainCounts? {
    guard !life.isStopping else { return nil }
    let isFirst = life.acceptsClients
    let before = sessions.count
    let limit = seconds.map { $0 > 0 ? "for at most \($0) s" : "without a time limit" }
    guard isFirst else {
      if let limit { log.write(.drainLimitChanged, [limit]) }
      setDrainLimit(seconds)
      return DrainCounts(continuing: before, idle: 0)
    }
    log.write(.draining, [limit ?? "without a time limit", counted(before, "client")])
    setDrainLimit(seconds)
    drainBegins?()
    // Before the sessions hear of it: one that ends must not give its place to a connection that waits.
    acceptor.close()
    for session in sessions.all { session.post(.drain) }
    let idle = before - sessions.count
    if idle > 0 { log.write(.idleClientsClosed, [counted(idle, "idle client")]) }
    if before == 0 { log.write(.drained) }
    endIfOver()
    return DrainCounts(continuing: sessions.count, idle: idle)
  }

  private func setDrainLimit(_ seconds: Int?) {
    life.drain(clients: sessions.count, within: seconds.map { Double($0) }) { [unowned self] in
      log.write(.drainTimeUp, [counted(sessions.count, "client")])
      stop()
    }
  }

  /// The broker accepts no client any more, and does not stop yet.
  public var isDraining: Bool { life.isDraining }
}
