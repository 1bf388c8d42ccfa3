// Reports about the calls and streams of a relay: their objects and their pauses.

extension Relay {
  public var counters: Counters { accounts.counters }

  /// The object that the stream of a call belongs to; nil: the opening call names none.
  public func object(of call: Call) -> StreamObject? { accounts.objects[Relay.key(call)] }

  /// The key of a call with a stream: no two streams of one procedure have the same serial, and all are of one program.
  static func key(_ call: Call) -> UInt64 {
    UInt64(UInt32(bitPattern: call.procedure)) << 32 | UInt64(call.serial)
  }

  /// Why the source of a call's stream is not read; nil: it is read.
  public func pause(of call: Call) -> PauseCause? {
    guard call.stream != nil, let upstream = upstreams[call.upstream] else { return nil }
    if metered[call.metered]?.isWaiting(at: now) ?? false { return .limit }
    if call.kind != .upload, call.kind != .migration, upstream.isPaused { return .client }
    // A slow daemon pauses the whole client.
    if call.kind != .download, isCongested || awaitsBulkDaemon { return .backend }
    return nil
  }

  /// Seconds for which some source of this client was not read, by cause.
  public func pausedSeconds(by cause: PauseCause, at now: Double) -> Double {
    accounts.pauses.seconds(by: cause, at: now)
  }

  /// The client accepts its data, and the rate holds back what is queued for it.
  private func isWaitingForRate(_ upstream: UpstreamLink) -> Bool {
    upstream.toClient.queue.isEmpty && nextMeteredTime != nil
  }

  /// Updates the stopwatches, at the end of each turn that leaves a source paused and of the turn after it.
  func notePauses() {
    let isAnyPaused = upstreams.indices.contains { slot in
      guard let upstream = upstreams[slot] else { return false }
      return upstream.isPaused && !isWaitingForRate(upstream)
    }
    accounts.pauses.note(.backend, isCongested || awaitsBulkDaemon, at: now)
    accounts.pauses.note(.limit, nextMeteredTime != nil, at: now)
    accounts.pauses.note(.client, isAnyPaused, at: now)
  }

  /// Reports the end of a stream to the owner. A call that was to open a stream and was refused counts as well.
  func ended(_ call: Call, _ result: StreamResult) {
    guard call.stream != nil else { return }
    metered[call.metered]?.isOver = true
    closePipe(of: call.upstream)
    owner.ended(call, object: accounts.objects.removeValue(forKey: Relay.key(call)), result)
  }
}
