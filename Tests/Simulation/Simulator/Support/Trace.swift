// A hash of everything that happens in a simulated run.
@testable import Streams

/// FNV-1a, over words of 64 bits: two runs with the same trace have done the same.
struct Trace: Equatable {
  private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func mix(_ word: UInt64) { hash = (hash ^ word) &* 0x0000_0100_0000_01B3 }

  mutating func mix(_ time: Double) { mix(time.bitPattern) }

  mutating func mix(_ text: String) {
    for byte in text.utf8 { mix(UInt64(byte)) }
  }

  mutating func mix(_ header: PacketHeader) {
    mix(UInt64(header.serial) << 32 | UInt64(UInt32(bitPattern: header.procedure)))
    mix(
      UInt64(header.length) << 32 | UInt64(header.kind.rawValue) << 16
        | UInt64(header.status.rawValue))
  }
}
