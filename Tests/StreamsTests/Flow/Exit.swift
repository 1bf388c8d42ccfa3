// A scheduler with everything around it that a test needs.
@testable import Streams

/// A scheduler with queues, and a socket that notes what it is given.
final class Exit {
  let pool = SegmentPool(capacity: SegmentPool.usualCapacity)
  let socket = PiecedTransport()
  var scheduler: SendScheduler
  let sendQueues: [SendQueue]

  init(sendQueues count: Int) {
    scheduler = SendScheduler(pool: pool)
    sendQueues = (0..<count).map { [pool] _ in SendQueue(pool: pool) }
    for sendQueue in sendQueues { scheduler.add(sendQueue) }
  }

  deinit { for sendQueue in scheduler.sendQueues { scheduler.remove(sendQueue, socket) } }

  func put(_ sendQueue: Int, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { sendQueues[sendQueue].queue.append(copying: $0) }
  }

  /// The socket takes `room` bytes more, `perSend` at a time.
  @discardableResult
  func flush(_ room: Int = .max, perSend: Int = .max, budget: Int = .max) -> Outcome {
    socket.room = room
    socket.perSend = perSend
    scheduler.unblock()
    return scheduler.flush(to: socket, budget: budget)
  }

  var hasWork: Bool { scheduler.hasWork }
  var isBlocked: Bool { scheduler.isBlocked }
  func remove(_ sendQueue: Int) { scheduler.remove(sendQueues[sendQueue], socket) }
}

/// A packet that names its queue in its serial and its number in its procedure.
func lanePacket(_ sendQueue: Int, _ number: Int, _ length: Int = 28) -> [UInt8] {
  var header = PacketHeader(
    procedure: Int32(number), kind: .reply, serial: UInt32(sendQueue), status: .ok)
  header.length = UInt32(length)
  var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number &* 3 &+ sendQueue), count: length)
  bytes.withUnsafeMutableBytes { room in
    if let base = room.baseAddress { header.write(at: base) }
  }
  return bytes
}

/// The packets in what a socket was given, carriers of descriptors left out; nil if there is something else.
func lanePackets(_ bytes: [UInt8]) -> [(sendQueue: Int, number: Int, length: Int)]? {
  var found: [(sendQueue: Int, number: Int, length: Int)] = []
  var rest = bytes[...]
  while !rest.isEmpty {
    guard rest.count >= 28 else { return nil }
    let header = Array(rest.prefix(32)).withUnsafeBytes { bytes in
      bytes.baseAddress.map { PacketHeader(at: $0) }
    }
    guard let header, rest.count >= Int(header.length) else { return nil }
    let number = Int(header.procedure)
    let sendQueue = Int(header.serial)
    guard
      Array(rest.prefix(Int(header.length))) == lanePacket(sendQueue, number, Int(header.length))
    else {
      return nil
    }
    found.append((sendQueue, number, Int(header.length)))
    rest = rest.dropFirst(Int(header.length))
  }
  return found
}
