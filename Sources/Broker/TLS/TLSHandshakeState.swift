// The state that a TLS session keeps of its handshake.
import Streams

/// The budgets of a handshake, and the detection of a peer that does not use TLS. A session owns it.
struct TLSHandshakeState {
  /// GnuTLS bounds each message of a handshake, but not the records without effect between them.
  private static let mostBytes = 256 << 10
  /// Limit of the warnings that a peer may send in its handshake.
  private static let mostAlerts = 8

  private var bytesLeft = TLSHandshakeState.mostBytes
  private var alerts = 0
  /// The first four bytes received; 0: the first read had fewer.
  private var firstBytes: UInt32?
  /// Why the peer was refused in its handshake.
  var peerError: Message?

  mutating func note(first bytes: UnsafeRawPointer, _ count: Int) {
    guard firstBytes == nil else { return }
    firstBytes = count >= 4 ? UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)) : 0
  }

  /// Counts bytes that GnuTLS takes. False: that is more than a handshake may have.
  mutating func spend(bytes: Int) -> Bool {
    bytesLeft -= bytes
    guard bytesLeft < 0 else { return true }
    peerError = Message(.peerSentLongHandshake, [TLSHandshakeState.mostBytes >> 10])
    return false
  }

  /// Counts one more warning. False: that is too many.
  mutating func spendAlert() -> Bool {
    alerts += 1
    return alerts <= TLSHandshakeState.mostAlerts
  }

  /// The protocol that the peer speaks, if its first bytes are no TLS handshake.
  var foreignProtocol: Message? {
    guard let firstBytes, firstBytes >> 24 != 22 else { return nil }
    return firstBytes <= UInt32(Limits.packet) && firstBytes >= UInt32(Limits.header)
      ? Message(.peerSpeaksPlainRPC) : Message(.peerSpeaksNoTLS)
  }
}
