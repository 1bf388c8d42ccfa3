// Where packets begin in bytes that are sent in pieces.
import Testing

@testable import Simulator
@testable import Streams

@Suite("packet edges")
struct PacketEdgesTests {
  @Test(
    "no piece crosses the end of a packet, however packets and pieces are cut",
    arguments: 0..<200 as Range<UInt64>)
  func pieces(seed: UInt64) {
    var random = Seed(seed)
    let lengths = (0..<60).map { _ in random.once(in: 4) ? 28 : random.pick(28...3000) }
    let bytes = lengths.enumerated().flatMap { sendQueuePacket(0, $0.offset, $0.element) }
    var ends: Set<Int> = []
    var sum = 0
    for length in lengths {
      sum += length
      ends.insert(sum)
    }
    var edges = PacketEdges()
    var position = 0
    var found: [Int] = []
    bytes.withUnsafeBytes { all in
      guard let base = all.baseAddress else { return }
      while position < all.count {
        // As much as one run holds. The length word itself may be cut.
        let offered = min(
          all.count - position, random.once(in: 3) ? random.pick(1...3) : random.pick(1...5000))
        let end = position + offered
        while position < end {
          let passed = edges.pass(base + position, end - position, limit: random.pick(4...2000))
          #expect(passed > 0)
          guard passed > 0 else { return }
          let inside = ends.contains { $0 > position && $0 < position + passed }
          #expect(!inside, "bytes \(position)..<\(position + passed) hold two packets")
          position += passed
          if ends.contains(position) { found.append(position) }
        }
      }
    }
    #expect(found.count == lengths.count, "each packet ends with a piece")
  }

  @Test("a length smaller than the length word counts as the word alone")
  func short() {
    var edges = PacketEdges()
    let bytes: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 40, 9]
    bytes.withUnsafeBytes { all in
      guard let base = all.baseAddress else { return }
      #expect(edges.pass(base, 9, limit: 100) == 4)
      #expect(edges.pass(base + 4, 5, limit: 100) == 5)
    }
  }
}
