// Where the parts of a large packet go.

/// What happens to the rest of a packet of the client that is forwarded in parts. While no such packet is under way,
/// it is `dropped`.
enum LargePacket {
  case dropped
  /// It follows its beginning to this upstream, on this queue.
  case relayed(UpstreamLink, SendQueue)
  /// It is a call that the broker answers: its header, and the beginning of its arguments.
  case kept(PacketHeader, [UInt8])

  /// The queue that has its beginning and gets its rest.
  var sendQueue: SendQueue? {
    if case .relayed(_, let sendQueue) = self { sendQueue } else { nil }
  }

  func goes(to upstream: UpstreamLink) -> Bool {
    if case .relayed(let receiver, _) = self { receiver === upstream } else { false }
  }
}
