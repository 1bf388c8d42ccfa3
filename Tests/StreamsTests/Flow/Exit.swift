// A send scheduler for tests.
@testable import Streams

/// A scheduler with queues, and a socket that records what is sent.
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

  /// Flushes to a socket that accepts `room` more bytes, at most `perSend` in one send.
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

/// A packet with its queue in the serial and its number in the procedure.
func sendQueuePacket(_ sendQueue: Int, _ number: Int, _ length: Int = 28) -> [UInt8] {
  var header = PacketHeader(
    procedure: Int32(number), kind: .reply, serial: UInt32(sendQueue), status: .ok)
  header.length = UInt32(length)
  var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number &* 3 &+ sendQueue), count: length)
  bytes.withUnsafeMutableBytes { room in
    if let base = room.baseAddress { header.write(at: base) }
  }
  return bytes
}

/// Parses the bytes sent to a socket, without descriptor carriers. Returns nil if they are anything but packets.
func sendQueuePackets(_ bytes: [UInt8]) -> [(sendQueue: Int, number: Int, length: Int)]? {
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
      Array(rest.prefix(Int(header.length)))
        == sendQueuePacket(sendQueue, number, Int(header.length))
    else {
      return nil
    }
    found.append((sendQueue, number, Int(header.length)))
    rest = rest.dropFirst(Int(header.length))
  }
  return found
}
