// How full the queues towards the daemons are, for those who look.

extension Relay {
  /// Bytes of the client that wait for a daemon.
  public func waitingForUpstream(_ slot: Int) -> Int {
    upstreams.indices.contains(slot) ? upstreams[slot]?.link.scheduler.bytes ?? 0 : 0
  }

  /// A daemon is not read, because too much waits for the client.
  public func isUpstreamPaused(_ slot: Int) -> Bool {
    upstreams.indices.contains(slot) ? upstreams[slot]?.isPaused ?? false : false
  }
}
