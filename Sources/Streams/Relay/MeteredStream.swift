// Streams with a rate have queues of their own, so that no other packet waits for them.

/// The queues of one stream with a rate. Each is created with its first packet.
final class MeteredStream {
  let slot: Int
  let kind: StreamKind
  private(set) var meters: [Meter]
  var up: SendQueue?
  var down: SendQueue?
  /// The stream has ended; what is queued is still sent.
  var isOver = false

  init(slot: Int, kind: StreamKind, meters: [Meter]) {
    self.slot = slot
    self.kind = kind
    self.meters = meters
  }

  /// Replaces its rates.
  func change(_ meters: [Meter]) {
    guard !meters.elementsEqual(self.meters, by: ===) else { return }
    self.meters = meters
    if let up { up.metering = Metering(meters) }
    if let down { down.metering = Metering(meters) }
  }

  /// Bytes queued for the daemon, or for the client.
  var bytesUp: Int { up?.queue.bytes ?? 0 }
  var bytesDown: Int { down?.queue.bytes ?? 0 }

  /// It has ended, and its queues are empty.
  var isDrained: Bool { isOver && isDrained(up) && isDrained(down) }

  private func isDrained(_ sendQueue: SendQueue?) -> Bool {
    guard let sendQueue else { return true }
    return sendQueue.queue.isEmpty && !sendQueue.isMidway && sendQueue.unfinished == 0
  }

  /// The stream waits for its rate.
  func isWaiting(at now: Double) -> Bool {
    up?.waitsUntil(now) != nil || down?.waitsUntil(now) != nil
  }
}

extension StreamKind {
  /// Whether the rate limits the direction to the daemon. A direction without a limit carries few control packets.
  var isMeteredUp: Bool { self == .console || self == .upload || self == .migration }
  var isMeteredDown: Bool { self == .console || self == .download }
}
