// Repeatable randomness.
import Glibc

/// The first seed of the simulations: the same in each run of `make test`, a different one in each run of `make
/// soak`.
let firstSeed = getenv("VIRTBROKER_FIRST_SEED").flatMap { UInt64(String(cString: $0)) } ?? 0

/// SplitMix64: the same seed gives the same run on every system.
struct Seed: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678_9ABC_DEF1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// True once in `n` times.
  mutating func once(in n: Int) -> Bool { Int.random(in: 0..<n, using: &self) == 0 }
  mutating func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
}
