// A socket that always has the next packet and always accepts one, without a kernel or memory of its own.
import Streams

/// Returns equal packets, as many bytes as `credit` allows, and accepts all bytes sent to it. A read writes only the
/// headers; the content of the payload does not matter to the relay.
final class EndlessTransport: Transport {
  let carriesDescriptors = true
  /// The packet it returns. Set it only between packets.
  var packet: PacketHeader {
    didSet { packet.write(at: header) }
  }
  /// Bytes it may still return.
  var credit = 0
  /// Bytes it accepts before it blocks. A new value makes the socket writable again.
  var room = Int.max
  private(set) var taken: UInt64 = 0
  /// The position within the packet.
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
