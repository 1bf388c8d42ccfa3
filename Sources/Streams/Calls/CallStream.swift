// The state machine of one call's stream.

/// The state of a stream as a relay between its two ends sees it.
public enum StreamPhase: UInt8, Sendable {
  /// The reply to the opening call is awaited. Both sides may already send packets.
  case opening
  case open
  /// The server has sent its end of data. It still accepts data, finish and abort.
  case drained
  /// The client has sent finish. Data under way still arrives, then the confirmation.
  case finishing
  /// The client has sent abort. Data under way still arrives, then the confirmation.
  case aborting
  /// Confirmed, failed, or refused: the relay forwards no more packets of it.
  case closed
}

/// What the relay does with a packet of a stream.
public enum StreamDecision: Equatable, Sendable {
  case relay
  /// Drop the packet: its receiver would ignore it.
  case drop
  /// The sender has violated the protocol, and its connection ends.
  case violation
}

/// The state machine of a stream (PROTOCOL.md section 13 as a relay sees it). It alone decides every pair of phase and
/// packet.
public struct CallStream: Equatable, Sendable {
  public private(set) var phase = StreamPhase.opening
  /// The opening call asked for a sparse stream, so hole packets are legal.
  public private(set) var isSparse: Bool
  /// The broker has ended the stream.
  private(set) var isCut = false

  public init(isSparse: Bool) { self.isSparse = isSparse }

  /// The reply to the opening call has arrived.
  public mutating func opened(_ status: PacketStatus) {
    switch (phase, status) {
    case (.opening, .ok): phase = .open
    // A refused call has no stream, even if its client has already sent data.
    case (_, .error): phase = .closed
    // A client's packet or the server's end of data arrived before the reply.
    default: break
    }
  }

  /// The broker ends the stream. The relay drops all further packets of both ends.
  mutating func cut() {
    phase = .closed
    isCut = true
  }

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&phase)
    try coder.code(&isSparse)
    try coder.code(&isCut)
  }

  /// Whether data from the client is forwarded.
  var takesData: Bool {
    switch phase {
    case .opening, .open, .drained: true
    case .finishing, .aborting, .closed: false
    }
  }

  /// Decides a packet from the client.
  public mutating func client(_ kind: PacketKind, _ status: PacketStatus) -> StreamDecision {
    switch phase {
    case .finishing, .aborting, .closed:
      // The server would ignore it too: it has ended the stream, or will have when the packet arrives.
      return .drop
    case .opening, .open, .drained:
      if kind == .streamHole { return isSparse ? .relay : .violation }
      switch status {
      case .continue: break
      case .ok: phase = .finishing
      // The server treats any other status as an abort, and answers it with an error.
      default: phase = .aborting
      }
      return .relay
    }
  }

  /// Decides a packet from the server. `payload` is in bytes.
  public mutating func server(
    _ kind: PacketKind, _ status: PacketStatus, payload: Int
  ) -> StreamDecision {
    if phase == .closed { return .drop }
    if kind == .streamHole { return isSparse ? .relay : .violation }
    switch status {
    case .continue:
      // After finish or abort the client waits for the confirmation, not for the end of data.
      if payload == 0, phase == .open || phase == .opening { phase = .drained }
      return .relay
    case .ok:
      // libvirt's client closes its connection at a confirmation that it does not await.
      let isAwaited = phase == .finishing || phase == .aborting
      phase = .closed
      return isAwaited ? .relay : .violation
    case .error:
      phase = .closed
      return .relay
    default:
      return .violation
    }
  }
}
