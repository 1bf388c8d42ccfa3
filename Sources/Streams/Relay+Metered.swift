// Streams that are kept to a rate travel on queues of their own, so that nothing else waits for them.

/// The queues of one stream with a rate. Each is made when there is something for it.
final class MeteredStream {
  let slot: Int
  private(set) var meters: [Meter]
  var up: SendQueue?
  var down: SendQueue?
  /// The stream has ended; what is queued still goes.
  var isOver = false

  init(slot: Int, meters: [Meter]) {
    self.slot = slot
    self.meters = meters
  }

  /// From now on it is kept to these.
  func change(_ meters: [Meter]) {
    guard !meters.elementsEqual(self.meters, by: ===) else { return }
    self.meters = meters
    if let up { up.metering = Metering(meters) }
    if let down { down.metering = Metering(meters) }
  }

  /// Bytes that wait to be sent to the daemon, or to the client.
  var bytesUp: Int { up?.queue.bytes ?? 0 }
  var bytesDown: Int { down?.queue.bytes ?? 0 }
}

extension StreamKind {
  /// Which of its directions carry what is to be limited. The other one has the few packets that steer it.
  var isMeteredUp: Bool { self == .console || self == .upload || self == .migration }
  var isMeteredDown: Bool { self == .console || self == .download }
}

extension Relay {
  /// Some stream of this client has a rate.
  public var hasMeteredStreams: Bool { meteredCount > 0 }

  /// Keeps streams under way to the rates the owner has for them now, on queues of their own. To be called when
  /// rates have changed, and followed by `settle`.
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

  /// The number of the metered stream that this call's becomes; -1: it has no rate.
  func meter(_ call: Call) -> Int {
    let meters = owner.meters(for: call.kind)
    guard !meters.isEmpty else { return -1 }
    let stream = MeteredStream(slot: call.upstream, meters: meters)
    meteredCount += 1
    if let free = metered.firstIndex(where: { $0 == nil }) {
      metered[free] = stream
      return free
    }
    metered.append(stream)
    return metered.count - 1
  }

  /// The queue of a call's packets to its daemon.
  func sendQueueUp(_ call: Call, _ upstream: UpstreamLink) -> SendQueue {
    guard call.metered >= 0, call.kind.isMeteredUp, let stream = metered[call.metered] else {
      return upstream.fromClient
    }
    if let sendQueue = stream.up { return sendQueue }
    let sendQueue = SendQueue(
      pool: pool, metering: Metering(stream.meters), behind: upstream.fromClient)
    stream.up = sendQueue
    upstream.link.scheduler.add(sendQueue)
    return sendQueue
  }

  /// The queue of a call's packets to the client.
  func sendQueueDown(_ call: Call, _ upstream: UpstreamLink) -> SendQueue {
    guard call.metered >= 0, call.kind.isMeteredDown, let stream = metered[call.metered] else {
      return upstream.toClient
    }
    if let sendQueue = stream.down { return sendQueue }
    let sendQueue = SendQueue(
      pool: pool, metering: Metering(stream.meters), behind: upstream.toClient)
    stream.down = sendQueue
    client.scheduler.add(sendQueue)
    return sendQueue
  }

  /// Bytes of metered streams that wait for their daemons, or that came from one and wait for the client.
  var meteredUp: Int {
    guard meteredCount > 0 else { return 0 }
    return metered.reduce(0) { $0 + ($1?.bytesUp ?? 0) }
  }
  func meteredDown(from upstream: UpstreamLink) -> Int {
    guard meteredCount > 0 else { return 0 }
    return metered.reduce(0) { sum, stream in
      guard let stream, upstreams[stream.slot] === upstream else { return sum }
      return sum + stream.bytesDown
    }
  }

  /// A large packet whose beginning is going out on this queue has to get its rest, however much waits on others:
  /// none of those can send before it is complete.
  func mustFinish(_ sendQueue: SendQueue?) -> Bool {
    guard meteredCount > 0, let sendQueue else { return false }
    return sendQueue.isMidway && sendQueue.queue.bytes <= watermarks.high / 2
  }

  /// Lets go of the queues of streams that are over, once these are empty.
  func dismissMetered() {
    guard meteredCount > 0 else { return }
    for index in metered.indices {
      guard let stream = metered[index], stream.isOver, isDone(stream.up), isDone(stream.down)
      else { continue }
      if let sendQueue = stream.up, let upstream = upstreams[stream.slot] {
        upstream.link.scheduler.remove(sendQueue, upstream.link.transport)
      }
      if let sendQueue = stream.down { client.scheduler.remove(sendQueue, client.transport) }
      metered[index] = nil
      meteredCount -= 1
    }
  }

  private func isDone(_ sendQueue: SendQueue?) -> Bool {
    guard let sendQueue else { return true }
    return sendQueue.queue.isEmpty && !sendQueue.isMidway && sendQueue.unfinished == 0
  }

  /// An upstream goes: what its metered streams have for the client leaves without regard to any rate. True
  /// if one of them broke off in the middle of a packet.
  func releaseMetered(of slot: Int) -> Bool {
    guard meteredCount > 0 else { return false }
    var isBroken = false
    for index in metered.indices {
      guard let stream = metered[index], stream.slot == slot else { continue }
      if let sendQueue = stream.down {
        if sendQueue.unfinished > 0 { isBroken = true }
        sendQueue.metering = nil
        if sendQueue.queue.isEmpty {
          client.scheduler.remove(sendQueue, client.transport)
          stream.down = nil
        } else {
          drainingQueues.append(sendQueue)
        }
      }
    }
    return isBroken
  }

  /// The queue by which a stream's data goes to the client, if it has one of its own, which from now on goes without
  /// regard to any rate: somebody ends the stream.
  func releasedQueue(_ call: Call) -> SendQueue? {
    guard call.metered >= 0, let stream = metered[call.metered] else { return nil }
    stream.up?.metering = nil
    stream.down?.metering = nil
    return stream.down
  }

  /// Behind `releaseMetered`, when everybody has been told.
  func forgetMetered(of slot: Int) {
    guard meteredCount > 0 else { return }
    for index in metered.indices where metered[index]?.slot == slot {
      metered[index] = nil
      meteredCount -= 1
    }
  }

  /// When the next packet that waits for its rate may go; nil: none does. The owner calls `settle` then.
  public var nextMeteredTime: Double? {
    guard meteredCount > 0 else { return nil }
    var next = Double.infinity
    for case let stream? in metered {
      for sendQueue in [stream.up, stream.down] {
        guard let sendQueue, let time = sendQueue.waitsUntil(now) else { continue }
        next = min(next, time)
      }
    }
    return next.isFinite ? next : nil
  }

  /// The stream of a call waits for its rate.
  func isWaitingForRate(_ call: Call) -> Bool {
    guard call.metered >= 0, let stream = metered[call.metered] else { return false }
    return stream.up?.waitsUntil(now) != nil || stream.down?.waitsUntil(now) != nil
  }
}
