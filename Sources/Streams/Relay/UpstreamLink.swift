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
  /// The reply to that call is not needed if it is large.
  var ownReplyMayBeLarge = false
  /// The owner knows that the connection has ended.
  var isEndReported = false
  /// The queue that has the beginning of a large packet for the client and gets its rest.
  var passingDown: SendQueue?
  /// The upstream is not read, because more than the high watermark is queued for the client.
  var isPaused = false

  /// What the client has there that ends with the connection.
  var dependents = Dependents()
  /// The client's event registrations; nil: it has made none.
  var events: EventMemory?

  /// - Parameter old: the upstream whose place this one takes. Its queue for the client is kept, and if nothing of
  ///   the client was sent yet, what the client has sent as well.
  init(
    transport: any Transport, pool: SegmentPool, largestWhole: Int,
    inPlaceOf old: UpstreamLink? = nil
  ) {
    link = Link(
      transport: transport, pool: pool, announcing: .replyWithDescriptors,
      largestWhole: largestWhole)
    toClient = old?.toClient ?? SendQueue(pool: pool)
    events = old?.events
    if let old, old.fromClient.isHeld {
      fromClient = old.fromClient
      old.link.moveQueues(to: link)
    } else {
      fromClient = SendQueue(pool: pool)
      fromClient.isHeld = true
      link.scheduler.add(fromClient)
    }
  }
}
