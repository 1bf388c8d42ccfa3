// Finds where packets begin in bytes that are sent in pieces.

/// Follows a sequence of whole packets by their length words, however the sequence is split into pieces.
///
/// TLS needs it: a record must not hold bytes of two packets, because libvirt's client and server read one packet
/// and return to `poll()` without asking GnuTLS what it has already decrypted.
public struct PacketEdges {
  /// Bytes of the current packet that have not passed; 0 at a packet's start and inside its length word.
  private var left = 0
  /// The length word of the next packet, as far as it has passed: 0 ≤ `wordBytes` < 4.
  private var word: UInt32 = 0
  private var wordBytes = 0

  public init() {}

  /// Passes bytes from the front of a piece, up to the end of the packet that they belong to.
  /// - Parameters:
  ///   - count: bytes in the piece.
  ///   - limit: the most to pass, at least 4.
  /// - Returns: how many were passed; 0 only where `count` is 0.
  public mutating func pass(_ bytes: UnsafeRawPointer, _ count: Int, limit: Int) -> Int {
    if left == 0 {
      var seen = 0
      while wordBytes < 4, seen < count {
        word = word << 8 | UInt32(bytes.load(fromByteOffset: seen, as: UInt8.self))
        wordBytes += 1
        seen += 1
      }
      guard wordBytes == 4 else { return seen }
      // The receiving connection has refused a length smaller than its own word.
      left = max(Int(word), 4) - (4 - seen)
      word = 0
      wordBytes = 0
    }
    let passed = min(left, count, limit)
    left -= passed
    return passed
  }
}
