// The records of a simulated TLS session.
@testable import Streams

/// Divides sent bytes into records of at most a few hundred bytes, and counts records that hold bytes of two packets.
struct RecordBuffer {
  private static let capacity = 700
  /// Records not sent yet, without the overhead of encryption.
  var waiting: [UInt8] = []
  private(set) var mixed = 0
  private var edges = PacketEdges()
  /// The bytes so far of the current packet, as a peer sees it.
  private var packet: [UInt8] = []

  /// Takes bytes from the runs while there is space. Returns their number.
  mutating func take(_ runs: UnsafeBufferPointer<Run>, _ random: inout Seed) -> Int {
    var moved = 0
    for run in runs {
      guard let base = run.base else { continue }
      var place = 0
      while place < run.count {
        guard waiting.count < Self.capacity else { return moved }
        let size = edges.pass(
          base + place, run.count - place, limit: random.once(in: 2) ? 400 : random.pick(4...60))
        precondition(size > 0, "a record has something in it")
        add(Array(UnsafeRawBufferPointer(start: base + place, count: size)))
        place += size
        moved += size
      }
    }
    return moved
  }

  private mutating func add(_ record: [UInt8]) {
    waiting += record
    for (index, byte) in record.enumerated() {
      packet.append(byte)
      guard packet.count >= 4 else { continue }
      let length = packet.prefix(4).reduce(0) { $0 << 8 | Int($1) }
      guard packet.count == length else { continue }
      packet = []
      if index < record.count - 1 { mixed += 1 }
    }
  }
}
