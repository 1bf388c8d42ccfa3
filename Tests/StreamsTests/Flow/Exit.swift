// An outlet with everything around it that a test needs.
@testable import Streams

/// An outlet with lanes, and a socket that notes what it is given.
final class Exit {
  let pool = SegmentPool(capacity: SegmentPool.usualCapacity)
  let socket = PiecedTransport()
  var outlet: Outlet
  let lanes: [Lane]

  init(lanes count: Int) {
    outlet = Outlet(pool: pool)
    lanes = (0..<count).map { [pool] _ in Lane(pool: pool) }
    for lane in lanes { outlet.add(lane) }
  }

  deinit { for lane in outlet.lanes { outlet.remove(lane, socket) } }

  func put(_ lane: Int, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { lanes[lane].queue.append(copying: $0) }
  }

  /// The socket takes `room` bytes more, `perSend` at a time.
  @discardableResult
  func flush(_ room: Int = .max, perSend: Int = .max, budget: Int = .max) -> Outcome {
    socket.room = room
    socket.perSend = perSend
    outlet.unblock()
    return outlet.flush(to: socket, budget: budget)
  }

  var hasWork: Bool { outlet.hasWork }
  var isBlocked: Bool { outlet.isBlocked }
  func remove(_ lane: Int) { outlet.remove(lanes[lane], socket) }
}

/// A packet that names its lane in its serial and its number in its procedure.
func lanePacket(_ lane: Int, _ number: Int, _ length: Int = 28) -> [UInt8] {
  var header = PacketHeader(
    procedure: Int32(number), kind: .reply, serial: UInt32(lane), status: .ok)
  header.length = UInt32(length)
  var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number &* 3 &+ lane), count: length)
  bytes.withUnsafeMutableBytes { room in
    if let base = room.baseAddress { header.write(at: base) }
  }
  return bytes
}

/// The packets in what a socket was given, carriers of descriptors left out; nil if there is something else.
func lanePackets(_ bytes: [UInt8]) -> [(lane: Int, number: Int, length: Int)]? {
  var found: [(lane: Int, number: Int, length: Int)] = []
  var rest = bytes[...]
  while !rest.isEmpty {
    guard rest.count >= 28 else { return nil }
    let header = Array(rest.prefix(32)).withUnsafeBytes { bytes in
      bytes.baseAddress.map { PacketHeader(at: $0) }
    }
    guard let header, rest.count >= Int(header.length) else { return nil }
    let number = Int(header.procedure)
    let lane = Int(header.serial)
    guard Array(rest.prefix(Int(header.length))) == lanePacket(lane, number, Int(header.length))
    else {
      return nil
    }
    found.append((lane, number, Int(header.length)))
    rest = rest.dropFirst(Int(header.length))
  }
  return found
}
