// A socket with TLS, as the relay uses it.
import Glibc
import Streams

/// Sends and receives through a TLS session whose client has been verified. Never blocks.
final class TLSTransport: ClientTransport {
  let session: TLSSession
  let peer: TLSPeer
  var number: Int32 { session.number }
  var carriesDescriptors: Bool { false }

  init(_ session: TLSSession, _ peer: TLSPeer) {
    self.session = session
    self.peer = peer
    session.takeOverRecords()
  }

  var holdsBytes: Bool { session.holdsBytes }
  var error: Message? { session.state.error }

  func closeSending() { session.closeSending() }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    session.beginReading()
    defer { session.endReading() }
    var total = 0
    for room in rooms where room.count > 0 {
      let outcome = session.read(
        into: UnsafeMutableRawBufferPointer(start: room.base, count: room.count))
      guard case .moved(let count) = outcome else {
        return total > 0 ? .moved(total) : outcome
      }
      total += count
      if count < room.count { break }
    }
    return .moved(total)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome { session.write(runs) }

  var unsent: Int { session.output.count }

  /// A network carries no descriptors. The broker refuses packets that announce some before this.
  func send(descriptor: Int32) -> Outcome { .failed(EOPNOTSUPP) }

  func discard(descriptor: Int32) {}
}
