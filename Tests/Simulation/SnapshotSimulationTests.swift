// Sessions that move to another driver in the middle of everything.
import Testing

@testable import Simulator
@testable import Streams

@Suite("snapshot simulation")
struct SnapshotSimulationTests {
  /// The other simulations check that nothing is lost by it.
  @Test("sessions and relays are moved while they work")
  func moves() {
    var (sessions, streams, relays) = (0, 0, 0)
    for seed in (0..<300).map({ firstSeed &+ UInt64($0) }) {
      let world = SessionWorld(seed: seed)
      #expect(world.run() == nil)
      sessions += world.moveCount
      streams += world.movedStreams
      let relay = RelayWorld(seed: seed)
      #expect(relay.run() == nil)
      relays += relay.moveCount
    }
    #expect(sessions > 300, "\(sessions)")
    #expect(streams > 50, "\(streams)")
    #expect(relays > 2000, "\(relays)")
  }

  @Test("a damaged snapshot of a session is refused or read, and nothing is kept of it")
  func damaged() {
    var refused = 0
    var random = Seed(firstSeed)
    for seed in (0..<200).map({ firstSeed &+ UInt64($0) }) {
      let world = SessionWorld(seed: seed)
      _ = world.run()
      guard let snapshot = world.lastSnapshot else { continue }
      let held = world.pool.heldCount
      for _ in 0..<50 {
        var bytes = snapshot.bytes
        if random.once(in: 4) {
          bytes.removeLast(random.pick(1...bytes.count))
        } else {
          for _ in 0..<random.pick(1...3) {
            bytes[random.pick(0...bytes.count - 1)] = UInt8(random.pick(0...255))
          }
        }
        if world.reads(bytes, snapshot.descriptors) != nil { refused += 1 }
        #expect(world.pool.heldCount == held, "seed \(seed)")
      }
      #expect(world.reads(snapshot.bytes, snapshot.descriptors) == nil, "seed \(seed)")
    }
    #expect(refused > 1000, "\(refused)")
  }
}
