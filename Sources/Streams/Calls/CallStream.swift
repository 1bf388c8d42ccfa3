// One call's stream: what either side may still send, and when it is over.

/// Where a stream stands, seen from between its two ends.
public enum StreamPhase: UInt8, Sendable {
  /// The opening call is on its way. Both sides' packets may already follow it.
  case opening
  case open
  /// The server has said that it has no more data; it still accepts data, finish and abort.
  case drained
  /// The client wants to finish; data under way still arrives, then the confirmation.
  case finishing
  /// The client has given up; data under way still arrives, then the confirmation.
  case aborting
  /// Confirmed, failed, or refused: nothing of it is passed on any more.
  case closed
}

/// What is to be done with a packet of a stream.
public enum StreamVerdict: Equatable, Sendable {
  case relay
  /// Too late for anyone to want it.
  case drop
  /// The sender broke the protocol and its connection ends.
  case violation
}

/// The state machine of a stream (PROTOCOL.md section 13 as a relay sees it): every pair of phase and
/// packet is decided here and nowhere else.
public struct CallStream: Equatable, Sendable {
  public private(set) var phase = StreamPhase.opening
  /// Holes are part of the stream: the opening call asked for it.
  public let isSparse: Bool
  /// The broker has ended it.
  private(set) var isCut = false

  public init(isSparse: Bool) { self.isSparse = isSparse }

  /// The reply to the opening call came.
  public mutating func opened(_ status: PacketStatus) {
    switch (phase, status) {
    case (.opening, .ok): phase = .open
    // A refused call has no stream, whatever its client sent ahead.
    case (_, .error): phase = .closed
    // The client was ahead of the reply, or the server's end of data was.
    default: break
    }
  }

  /// The broker ends it: nothing of it is relayed any more, whatever its ends send.
  mutating func cut() {
    phase = .closed
    isCut = true
  }

  /// A packet from the client.
  public mutating func client(_ kind: PacketKind, _ status: PacketStatus) -> StreamVerdict {
    switch phase {
    case .finishing, .aborting, .closed:
      // The server would not look at it either: it is done with the stream, or will be by then.
      return .drop
    case .opening, .open, .drained:
      if kind == .streamHole { return isSparse ? .relay : .violation }
      switch status {
      case .continue: break
      case .ok: phase = .finishing
      // Any other status is an abort to the server, answered with an error.
      default: phase = .aborting
      }
      return .relay
    }
  }

  /// A packet from the server, with the bytes of its payload.
  public mutating func server(
    _ kind: PacketKind, _ status: PacketStatus, payload: Int
  ) -> StreamVerdict {
    if phase == .closed { return .drop }
    if kind == .streamHole { return isSparse ? .relay : .violation }
    switch status {
    case .continue:
      // A client that wants to finish or abort waits for the confirmation, not for the end of data.
      if payload == 0, phase == .open || phase == .opening { phase = .drained }
      return .relay
    case .ok:
      // libvirt's client ends its connection at a confirmation it does not wait for.
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
