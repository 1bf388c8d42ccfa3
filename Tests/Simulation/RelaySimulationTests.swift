// The simulation of relays alone.
import Testing

@testable import Simulator

@Suite("relay simulation")
struct RelaySimulationTests {
  @Test("a relay keeps its promises whatever its ends do", arguments: 0..<20)
  func promises(part: Int) {
    let first = firstSeed &+ UInt64(part) * 500
    for seed in (0..<500).map({ first &+ $0 }) {
      let problem = RelayWorld(seed: seed).run()
      #expect(problem == nil, "seed \(seed)")
      if problem != nil { return }
    }
  }
}
