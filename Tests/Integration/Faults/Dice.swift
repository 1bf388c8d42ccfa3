// Random faults and contents: both depend only on a seed.
import Foundation

/// Random numbers from a seed (SplitMix64).
struct Dice: RandomNumberGenerator, Sendable {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
  mutating func once(in count: Int) -> Bool { pick(1...count) == 1 }

  /// Seconds until the next event of a kind that occurs every `mean` seconds.
  mutating func wait(mean: Double) -> Double {
    -mean * log(Double.random(in: 0.0001...1, using: &self))
  }
}

/// The bytes of a volume or of a stream: they depend on a seed and the position, in words of eight bytes.
struct Content: Equatable, Sendable {
  let seed: UInt64
  let count: Int

  /// The bytes from `position`, up to the end.
  func bytes(from position: Int, atMost most: Int) -> [UInt8] {
    let end = min(count, position + most)
    guard position < end else { return [] }
    let first = position / 8
    var words: [UInt64] = []
    for index in first...(end - 1) / 8 {
      var dice = Dice(seed ^ UInt64(index) &* 0xd134_2543_de82_ef95)
      words.append(dice.next())
    }
    return words.withUnsafeBytes { Array($0[position - first * 8..<end - first * 8]) }
  }

  /// The `Checksum` of all bytes.
  var checksum: Checksum {
    var sum = Checksum()
    var position = 0
    while position < count {
      let some = bytes(from: position, atMost: 65_536)
      sum.add(some)
      position += some.count
    }
    return sum
  }
}

/// FNV-1a over 64 bits, and the number of bytes.
struct Checksum: Equatable, Sendable, CustomStringConvertible {
  private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  private(set) var count = 0

  mutating func add(_ bytes: [UInt8]) {
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    count += bytes.count
  }

  var description: String { "\(count) bytes with the sum \(String(hash, radix: 16))" }

  /// The checksum of a file's first bytes; nil if it cannot be read.
  static func ofFile(_ path: String, atMost most: Int) -> Checksum? {
    guard let file = FileHandle(forReadingAtPath: path) else { return nil }
    defer { try? file.close() }
    var sum = Checksum()
    while sum.count < most, let data = try? file.read(upToCount: min(1 << 20, most - sum.count)),
      !data.isEmpty
    { sum.add(Array(data)) }
    return sum
  }
}
