// A session between its client, its backends and its services, with everything going wrong that can.
import Testing

@testable import Simulator
@testable import Streams

@Suite("session simulation")
struct SessionSimulationTests {
  @Test("a session keeps its promises whatever its ends do", arguments: 0..<20)
  func promises(part: Int) {
    let first = firstSeed &+ UInt64(part) * 500
    for seed in (0..<500).map({ first &+ $0 }) {
      let problem = SessionWorld(seed: seed).run()
      #expect(problem == nil)
      if problem != nil { return }
    }
  }

  @Test("a session that takes its client for another is found out")
  func canary() {
    let problems = (0..<40).compactMap { SessionWorld(seed: $0, isMistaken: true).run() }
    #expect(problems.contains { $0.contains("mallory") }, "\(problems)")
  }

  @Test(
    "daemons are lost and come back while their clients stay, calls are sent again, and missed events are sent"
  )
  func reopenings() {
    var (reopenings, repeats, followers) = (0, 0, 0)
    for seed in (0..<2000).map({ firstSeed &+ UInt64($0) }) {
      let world = SessionWorld(seed: seed)
      _ = world.run()
      reopenings += world.checks.reopenings
      repeats += world.checks.repeats
      followers += world.checks.followers
    }
    #expect(reopenings > 50, "\(reopenings)")
    #expect(repeats > 5, "\(repeats)")
    #expect(followers > 5, "\(followers)")
  }

  @Test("different seeds give different runs")
  func different() {
    let hashes = (0..<200).map { (seed: UInt64) in
      let world = SessionWorld(seed: seed)
      _ = world.run()
      return world.loop.trace.hash
    }
    // A client may vanish before it has done anything.
    #expect(Set(hashes).count > 190)
  }
}
