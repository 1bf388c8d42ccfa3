// A whole broker with its clients, its daemons and its administrator, with everything going wrong that can.
import Foundation
import Testing

@testable import Simulator

@Suite("broker simulation")
struct BrokerSimulationTests {
  @Test("a broker keeps its promises whatever its ends do", arguments: 0..<20)
  func promises(part: Int) {
    let first = firstSeed &+ UInt64(part) * 500
    for seed in (0..<500).map({ first &+ $0 }) {
      let problem = BrokerWorld(seed: seed).run()
      #expect(problem == nil)
      if problem != nil { return }
    }
  }

  @Test("a broker with a planted mistake is found out", arguments: BrokerWorld.Mistake.allCases)
  func canary(mistake: BrokerWorld.Mistake) {
    let words =
      switch mistake {
      case .identity: "mallory"
      case .places: "beyond the"
      case .tag: "another client's"
      }
    let problems = (0..<100).compactMap { BrokerWorld(seed: $0, mistake: mistake).run() }
    #expect(problems.contains { $0.contains(words) }, "\(problems)")
  }

  @Test("a seed gives the same run in another process", arguments: [[], ["--sessions"]])
  func repeatable(options: [String]) throws {
    let other = Process()
    other.executableURL = try BrokerSimulationTests.program()
    other.arguments = ["--hashes"] + options + ["0", "1000"]
    let output = Pipe()
    other.standardOutput = output
    try other.run()
    let mine = (0..<1000).map { (seed: UInt64) in
      let loop: SimulatedLoop
      if options.isEmpty {
        let world = BrokerWorld(seed: seed)
        loop = world.loop
        _ = world.run()
      } else {
        let world = SessionWorld(seed: seed)
        loop = world.loop
        _ = world.run()
      }
      return "\(seed) \(String(loop.trace.hash, radix: 16))"
    }
    let printed = try output.fileHandleForReading.readToEnd() ?? Data()
    other.waitUntilExit()
    #expect(other.terminationStatus == 0)
    let lines = String(decoding: printed, as: UTF8.self).split(separator: "\n").map(String.init)
    #expect(lines.count == mine.count)
    #expect(zip(lines, mine).first { $0 != $1 }.map { "\($0)" } == nil)
    #expect(Set(mine).count == mine.count)
  }

  /// `simulate`, which was built together with these tests.
  private static func program() throws -> URL {
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(filePath: tests).deletingLastPathComponent().appending(path: "simulate")
  }
}
