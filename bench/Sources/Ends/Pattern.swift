// The content of synthetic streams: bytes that depend on their position, so that either end can check them.
import Glibc

/// The content of every synthetic stream. It repeats a block of 256 KiB whose last eight bytes are the number of the
/// block, so that lost, repeated or swapped bytes are detected.
public enum Pattern {
  /// Bytes in a block: the size that libvirt's file streams read at a time.
  public static let block = 262_144
  /// Bytes at the end of each block for its number.
  static let stamp = 8
  static let plain = block - stamp

  /// One block without its stamp; the same memory for every stream, so it stays in the cache.
  nonisolated(unsafe) static let bytes: UnsafeRawPointer = {
    let room = UnsafeMutableRawPointer.allocate(byteCount: block, alignment: 4096)
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    for offset in stride(from: 0, to: block, by: 8) {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      room.storeBytes(of: state, toByteOffset: offset, as: UInt64.self)
    }
    return UnsafeRawPointer(room)
  }()

  /// Whether `content` equals the pattern at `position`.
  public static func matches(_ content: UnsafeRawBufferPointer, at position: UInt64) -> Bool {
    guard var next = content.baseAddress else { return true }
    var position = position
    var left = content.count
    while left > 0 {
      let offset = Int(position % UInt64(block))
      let count: Int
      if offset < plain {
        count = min(left, plain - offset)
        guard memcmp(next, bytes + offset, count) == 0 else { return false }
      } else {
        count = min(left, block - offset)
        var number = (position / UInt64(block)).bigEndian
        guard
          withUnsafeBytes(
            of: &number, { memcmp(next, $0.baseAddress! + (offset - plain), count) == 0 })
        else { return false }
      }
      next += count
      position += UInt64(count)
      left -= count
    }
    return true
  }
}
