// A socket that always has the next packet and always takes one: no kernel, no memory of its own.
import Streams

/// Gives packets that are all alike, as much of them as it is told to have, and takes all it is given.
/// A read writes just the headers: what the payload is made of is nobody's business on the way.
final class EndlessTransport: Transport {
  let carriesDescriptors = true
  /// The packet it gives. Set between packets.
  var packet: PacketHeader {
    didSet { packet.write(at: header) }
  }
  /// Bytes it has to give.
  var credit = 0
  /// Bytes it takes before it blocks; a refill is what makes the socket writable again.
  var room = Int.max
  private(set) var taken: UInt64 = 0
  /// Where in the packet it stands.
  private var place = 0
  private let header = UnsafeMutableRawPointer.allocate(byteCount: Limits.header, alignment: 8)

  init(packet: PacketHeader) {
    self.packet = packet
    packet.write(at: header)
  }

  deinit { header.deallocate() }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    guard credit > 0 else { return .blocked(.read) }
    var moved = 0
    for room in rooms where credit > 0 {
      guard let base = room.base else { continue }
      let count = min(room.count, credit)
      fill(UnsafeMutableRawBufferPointer(start: base, count: count))
      credit -= count
      moved += count
    }
    return .moved(moved)
  }

  private func fill(_ target: UnsafeMutableRawBufferPointer) {
    guard let base = target.baseAddress else { return }
    let length = Int(packet.length)
    var done = 0
    while done < target.count {
      let left = target.count - done
      if place < Limits.header {
        let count = min(Limits.header - place, left)
        (base + done).copyMemory(from: header + place, byteCount: count)
        place += count
        done += count
      } else {
        let count = min(length - place, left)
        place += count
        done += count
      }
      if place == length { place = 0 }
    }
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    var count = 0
    for run in runs { count += run.count }
    count = min(count, room)
    guard count > 0 else { return .blocked(.write) }
    room -= count
    taken &+= UInt64(count)
    return .moved(count)
  }

  func send(descriptor: Int32) -> Outcome { .moved(1) }
  func discard(descriptor: Int32) {}
}
