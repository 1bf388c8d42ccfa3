// Replays simulated runs, and tells what happens in them.
//
//   simulate [OPTION...] [FIRST [COUNT]]
//
// Runs COUNT whole brokers (1000 unless given, 1 with --trace) from seed FIRST (0) on, prints what was wrong, and ends
// with status 1 if anything was.
//
//   --sessions   runs sessions by themselves instead
//   --relays     runs relays by themselves instead
//   --first      ends at the first seed that fails
//   --trace      prints what happens
//   --hashes     prints a hash of everything that happened in each run
//   --coverage   prints the pairs of state and event that were met, and how often
import Glibc

@testable import Simulator

let words = Array(CommandLine.arguments.dropFirst())
let options = Set(words.filter { $0.hasPrefix("--") })
let numbers = words.compactMap { UInt64($0) }
let known: Set = [
  "--sessions", "--relays", "--first", "--trace", "--hashes", "--coverage",
]
guard options.isSubset(of: known), numbers.count + options.count == words.count, numbers.count < 3
else {
  print("usage: simulate [\(known.sorted().joined(separator: "] ["))] [FIRST [COUNT]]")
  exit(2)
}

let first = numbers.first ?? 0
let count = numbers.count > 1 ? numbers[1] : options.contains("--trace") ? 1 : 1000
let coverage = options.contains("--coverage") ? SessionCoverage() : nil
let narrate: ((String) -> Void)? = options.contains("--trace") ? { print($0) } : nil

/// One run: what was wrong, and its hash.
@MainActor
func run(_ seed: UInt64) -> (problem: String?, hash: UInt64) {
  if options.contains("--relays") { return (RelayWorld(seed: seed).run(), 0) }
  if options.contains("--sessions") {
    let world = SessionWorld(seed: seed, coverage: coverage)
    world.loop.narrate = narrate
    return (world.run(), world.loop.trace.hash)
  }
  let world = BrokerWorld(seed: seed, coverage: coverage)
  world.loop.narrate = narrate
  return (world.run(), world.loop.trace.hash)
}

var failures = 0
for seed in first..<first + count {
  let (problem, hash) = run(seed)
  if options.contains("--hashes") { print("\(seed) \(String(hash, radix: 16))") }
  guard let problem else { continue }
  print(problem)
  failures += 1
  if options.contains("--first") { break }
}
if let coverage { print(coverage.report) }
exit(failures > 0 ? 1 : 0)
