// A snapshot in memory that two processes share.
import CGnuTLS
import CLinux
import Glibc
import Streams

/// A snapshot in sealed memory. The kernel refuses every later change, and the reader checks the length and a hash.
///
///     "VBSNAP01"  version (4 bytes)  length (8)  SHA-256 of the content (32)  content
enum SnapshotMemory {
  private static let magic = Array("VBSNAP01".utf8)
  private static let hashSize = 32
  private static let prefix = magic.count + 4 + 8 + hashSize
  /// The most bytes of a snapshot. Queued data is bounded by `max_total_buffer`.
  private static let most = 1 << 36
  private static let allSeals = Int32(LINUX_ALL_SEALS)

  /// Empty memory with a descriptor.
  static func make() -> Descriptor { Descriptor(linux_memory_file("virtbroker-snapshot")) }

  static func write(_ content: [UInt8], version: UInt32) throws(Message) -> Descriptor {
    let memory = make()
    guard memory.number >= 0 else { throw Message(.noSnapshotMemory, [errorText(errno)]) }
    var head = magic
    withUnsafeBytes(of: version.bigEndian) { head += $0 }
    withUnsafeBytes(of: UInt64(content.count).bigEndian) { head += $0 }
    head += hash(of: content)
    for part in [head, content] {
      guard writeAll(part, to: memory.number) else {
        throw Message(.noSnapshotMemory, [errorText(errno)])
      }
    }
    guard fcntl(memory.number, Int32(LINUX_F_ADD_SEALS), allSeals) == 0 else {
      throw Message(.noSnapshotMemory, [errorText(errno)])
    }
    return memory
  }

  /// The content and its version.
  /// - Throws: the memory is not sealed, or the snapshot is damaged.
  static func read(_ memory: Int32) throws(Message) -> (content: [UInt8], version: UInt32) {
    guard fcntl(memory, Int32(LINUX_F_GET_SEALS)) & allSeals == allSeals else {
      throw Message(.snapshotNotSealed)
    }
    var status = stat()
    guard fstat(memory, &status) == 0, status.st_size >= prefix, status.st_size <= most else {
      throw Message(.snapshotDamaged)
    }
    let size = Int(status.st_size)
    var bytes = [UInt8](repeating: 0, count: size)
    var done = 0
    while done < size {
      let count = bytes.withUnsafeMutableBytes {
        pread(memory, $0.baseAddress.map { $0 + done }, size - done, off_t(done))
      }
      guard count > 0 || count < 0 && errno == EINTR else { throw Message(.snapshotDamaged) }
      done += max(0, count)
    }
    func number<Value: FixedWidthInteger>(at place: Int, _: Value.Type) -> Value {
      bytes.withUnsafeBytes {
        Value(bigEndian: $0.loadUnaligned(fromByteOffset: place, as: Value.self))
      }
    }
    let content = Array(bytes[prefix...])
    guard bytes.starts(with: magic),
      number(at: magic.count + 4, UInt64.self) == UInt64(content.count),
      bytes[(prefix - hashSize)..<prefix].elementsEqual(hash(of: content))
    else { throw Message(.snapshotDamaged) }
    return (content, number(at: magic.count, UInt32.self))
  }

  private static func hash(of content: [UInt8]) -> [UInt8] {
    var hash = [UInt8](repeating: 0, count: hashSize)
    gnutls_hash_fast(GNUTLS_DIG_SHA256, content, content.count, &hash)
    return hash
  }

  private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, bytes.count - done)
      }
      guard count > 0 || count < 0 && errno == EINTR else { return false }
      done += max(0, count)
    }
    return true
  }
}
