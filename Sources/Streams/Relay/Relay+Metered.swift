// Routes streams with a rate through queues of their own.

extension Relay {
  /// At least one stream of this client has a rate.
  public var hasMeteredStreams: Bool { !metered.isEmpty }

  /// When the next packet that waits for its rate may be sent; nil: none waits. The owner calls `settle` then.
  public var nextMeteredTime: Double? { metered.nextTime(after: now) }

  /// Applies the rates that the owner has now to the streams under way. The owner calls it when rates have changed,
  /// and then `settle`.
  public func meterStreams() {
    for call in calls.calls where call.stream != nil {
      if call.metered >= 0 {
        metered[call.metered]?.change(owner.meters(for: call.kind))
        continue
      }
      guard let index = calls.find(call) else { continue }
      let number = meter(call)
      if number >= 0 { calls.setMetered(at: index, number) }
    }
  }

  /// Creates the metered stream for a call's stream. Returns its number; -1: it has no rate.
  func meter(_ call: Call) -> Int {
    let meters = owner.meters(for: call.kind)
    guard !meters.isEmpty else { return -1 }
    return metered.add(MeteredStream(slot: call.upstream, kind: call.kind, meters: meters))
  }

  /// The queue of a call's packets to its daemon.
  func sendQueueUp(_ call: Call, _ upstream: UpstreamLink) -> SendQueue {
    guard call.kind.isMeteredUp, let stream = metered[call.metered] else {
      return upstream.fromClient
    }
    return stream.up ?? makeQueueUp(of: stream, upstream)
  }

  func makeQueueUp(of stream: MeteredStream, _ upstream: UpstreamLink) -> SendQueue {
    let sendQueue = SendQueue(
      pool: pool, metering: Metering(stream.meters), behind: upstream.fromClient)
    stream.up = sendQueue
    upstream.link.scheduler.add(sendQueue)
    return sendQueue
  }

  /// The queue of a call's packets to the client.
  func sendQueueDown(_ call: Call, _ upstream: UpstreamLink) -> SendQueue {
    guard call.kind.isMeteredDown, let stream = metered[call.metered] else {
      return upstream.toClient
    }
    return stream.down ?? makeQueueDown(of: stream, upstream)
  }

  func makeQueueDown(of stream: MeteredStream, _ upstream: UpstreamLink) -> SendQueue {
    let sendQueue = SendQueue(
      pool: pool, metering: Metering(stream.meters), behind: upstream.toClient)
    stream.down = sendQueue
    client.scheduler.add(sendQueue)
    return sendQueue
  }

  /// This queue is in the middle of a packet and needs its rest, even if other queues are above the watermark. No other
  /// queue can send before the packet is complete.
  func mustFinish(_ sendQueue: SendQueue?) -> Bool {
    guard !metered.isEmpty, let sendQueue else { return false }
    return sendQueue.isMidway && sendQueue.queue.bytes <= limits.watermarks.low
  }

  /// Removes streams that have ended and whose queues are empty.
  func removeDrainedStreams() {
    for number in metered.numbers {
      guard let stream = metered[number], stream.isDrained else { continue }
      if let sendQueue = stream.up, let upstream = upstreams[stream.slot] {
        upstream.link.scheduler.remove(sendQueue, upstream.link.transport)
      }
      if let sendQueue = stream.down { client.scheduler.remove(sendQueue, client.transport) }
      metered.remove(number)
    }
  }

  /// Lifts the rates from the packets that an upstream's metered streams have queued for the client, because the
  /// upstream is removed. True if one of the queues ends in the middle of a packet.
  func releaseMetered(of slot: Int) -> Bool {
    var isBroken = false
    for number in metered.numbers {
      guard let stream = metered[number], stream.slot == slot, let sendQueue = stream.down else {
        continue
      }
      if sendQueue.unfinished > 0 { isBroken = true }
      sendQueue.metering = nil
      if sendQueue.queue.isEmpty {
        client.scheduler.remove(sendQueue, client.transport)
        stream.down = nil
      } else {
        upstreams.draining.append(sendQueue)
      }
    }
    return isBroken
  }

  /// Lifts the rate from a stream that is being ended. Returns its own queue for the client; nil: it has none.
  func releasedQueue(_ call: Call) -> SendQueue? {
    guard let stream = metered[call.metered] else { return nil }
    stream.up?.metering = nil
    stream.down?.metering = nil
    return stream.down
  }
}
