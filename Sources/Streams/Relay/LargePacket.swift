// The destination of the parts of a large packet.

/// The destination of the rest of a client's large packet. While no such packet is under way, it is `dropped`.
enum LargePacket {
  case dropped
  /// The rest follows its beginning to this upstream, on this queue.
  case relayed(UpstreamLink, SendQueue)
  /// The packet is a call that the broker answers: its header, and the beginning of its arguments.
  case kept(PacketHeader, [UInt8])

  /// The queue that has the packet's beginning and gets its rest.
  var sendQueue: SendQueue? {
    if case .relayed(_, let sendQueue) = self { sendQueue } else { nil }
  }

  /// Another upstream has taken the place of `old`, with its queues.
  mutating func redirect(from old: UpstreamLink, to new: UpstreamLink) {
    if case .relayed(let receiver, let sendQueue) = self, receiver === old {
      self = .relayed(new, sendQueue)
    }
  }

  func goes(to upstream: UpstreamLink) -> Bool {
    if case .relayed(let receiver, _) = self { receiver === upstream } else { false }
  }
}
