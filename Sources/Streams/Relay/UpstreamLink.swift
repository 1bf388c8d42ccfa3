// One connection to a backend daemon, as the relay sees it.

/// The connection and its two queues. The relay owns it from `add(upstream:)` to
/// `remove(upstream:telling:closedEvent:)`.
final class UpstreamLink {
  let link: Link
  /// Packets of the client, held while the upstream is being opened.
  let fromClient: SendQueue
  /// Packets for the client: a queue of the client's scheduler.
  let toClient: SendQueue
  /// Serial of a call of the broker's own whose reply is awaited.
  var ownSerial: UInt32?
  /// The owner knows that the connection has ended.
  var isEndReported = false
  /// The queue that has the beginning of a large packet for the client and gets its rest.
  var passingDown: SendQueue?
  /// The upstream is not read, because more than the high watermark is queued for the client.
  var isPaused = false

  init(transport: any Transport, pool: SegmentPool, largestWhole: Int) {
    link = Link(
      transport: transport, pool: pool, announcing: .replyWithDescriptors,
      largestWhole: largestWhole)
    fromClient = SendQueue(pool: pool)
    toClient = SendQueue(pool: pool)
    fromClient.isHeld = true
    link.scheduler.add(fromClient)
  }
}
