// What a peer may send after the handshake besides data: how many records, and in which order.
import Glibc

/// Bounds the records that are not application data: alerts, KeyUpdate messages, session tickets.
///
/// Each of them makes the session build the ciphers of both directions anew, and a TLS 1.2 client can send warnings
/// without end. A peer has a budget of `most` records and regains one each second. A regular peer sends two or three in
/// the life of a connection, or one KeyUpdate per some gigabytes.
struct ControlBudget {
  static let most = 32
  private var left = ControlBudget.most
  private var since = 0

  /// Counts one more record. False: that is too many.
  mutating func spend() -> Bool {
    spend(at: Clock.coarse.parts.seconds)
  }

  /// - Parameter second: time on a monotonic clock.
  mutating func spend(at second: Int) -> Bool {
    if second > since {
      left = min(ControlBudget.most, left + min(ControlBudget.most, second - since))
      since = second
    }
    guard left > 0 else { return false }
    left -= 1
    return true
  }
}

/// Follows the boundaries of handshake messages through decrypted records of TLS 1.3.
///
/// A message may be split over several records, and no record of another kind may come between them (RFC 8446, 5.1).
/// The session itself must know where a message ends, because GnuTLS sees only the records that the session does not
/// open.
struct MessageTracker {
  private static let header = 4
  /// Number of header bytes received, and the length in them.
  private var headerBytes = 0
  private var length = 0

  /// Whether a message has begun and not ended.
  var isInside: Bool { headerBytes > 0 }

  mutating func follow(_ bytes: UnsafeRawBufferPointer) {
    var place = 0
    while place < bytes.count {
      if headerBytes < MessageTracker.header {
        // The type is the first byte, the length the other three.
        if headerBytes > 0 { length = length << 8 | Int(bytes[place]) }
        headerBytes += 1
        place += 1
      } else {
        let here = min(length, bytes.count - place)
        length -= here
        place += here
      }
      if headerBytes == MessageTracker.header, length == 0 { headerBytes = 0 }
    }
  }
}
