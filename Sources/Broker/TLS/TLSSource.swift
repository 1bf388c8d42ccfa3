// What a TLS session may still read from its socket.

/// The receiving side of the socket, and the reads of one turn. A session owns it.
struct TLSSource {
  enum State: Equatable {
    case readable
    /// Not read again in this turn: the kernel had less than the room, or the limit of reads is reached.
    case drained
    /// The peer has closed its side. Records received before may still be complete.
    case atEnd
    /// The socket failed with this errno.
    case failed(Int32)
  }

  /// Limit of the reads in one turn: more than any room needs, because records may be empty.
  private static let mostReads = 16

  private(set) var state = State.readable
  private var reads = 0

  /// Starts a turn: the kernel may have more than in the last one.
  mutating func beginTurn() {
    reads = 0
    if state == .drained { state = .readable }
  }

  /// A read returned bytes. `isFull`: the bytes filled the room.
  mutating func noteRead(isFull: Bool) {
    reads += 1
    if !isFull || reads >= TLSSource.mostReads { state = .drained }
  }

  /// A read returned no bytes, for this reason.
  mutating func stop(_ state: State) { self.state = state }

  /// The errno of the socket; nil: it has not failed.
  var failure: Int32? {
    if case .failed(let number) = state { number } else { nil }
  }
}
