// What a TLS session may still read from its socket.

/// The receiving side of the socket, and the reads of one turn. Owned by a session.
struct TLSSource {
  enum State: Equatable {
    case readable
    /// Not read again in this turn: the kernel had less than there was room for, or was asked often enough.
    case drained
    /// The peer has closed its side. Records received before may still be complete.
    case atEnd
    /// With this errno.
    case failed(Int32)
  }

  /// Reads of one turn: more than any room needs, because records may be empty.
  private static let mostReads = 16

  private(set) var state = State.readable
  private var reads = 0

  /// A turn begins: the kernel may have more than the last time.
  mutating func beginTurn() {
    reads = 0
    if state == .drained { state = .readable }
  }

  /// A read brought bytes. `isFull`: as many as there was room for.
  mutating func noteRead(isFull: Bool) {
    reads += 1
    if !isFull || reads >= TLSSource.mostReads { state = .drained }
  }

  /// A read brought no bytes, for this reason.
  mutating func stop(_ state: State) { self.state = state }

  /// The errno of the socket; nil: it has not failed.
  var failure: Int32? {
    if case .failed(let number) = state { number } else { nil }
  }
}
