// A receive buffer for tests.
@testable import Simulator
@testable import Streams

/// A receive buffer with a scripted socket and a queue for the received packets.
final class Intake {
  let pool: SegmentPool
  let socket = PiecedTransport()
  var receiveBuffer: ReceiveBuffer
  var queue: SegmentQueue

  init(segment: Int = 256, largestWhole: Int = Limits.usualPacket, allowsStray: Bool = true) {
    pool = SegmentPool(capacity: segment)
    receiveBuffer = ReceiveBuffer(pool: pool, largestWhole: largestWhole, allowsStray: allowsStray)
    queue = SegmentQueue(pool: pool)
  }

  deinit {
    receiveBuffer.clear(socket)
    queue.clear { _ in }
  }

  @discardableResult
  func read(_ bytes: [UInt8], descriptor: Int32 = -1) -> Outcome {
    read(bytes[...], descriptor: descriptor)
  }

  @discardableResult
  func read(_ bytes: ArraySlice<UInt8>, descriptor: Int32 = -1) -> Outcome {
    socket.supply(bytes, descriptor: descriptor)
    return receiveBuffer.receive(from: socket)
  }

  /// Receives once from the bytes that the socket still has.
  @discardableResult
  func read() -> Outcome { receiveBuffer.receive(from: socket) }

  var wasFilled: Bool { receiveBuffer.wasFilled }
  var frontIsCarrier: Bool { receiveBuffer.frontIsCarrier }
  var frontWasSeen: Bool { receiveBuffer.frontWasSeen }
  var hasMisplacedDescriptor: Bool { receiveBuffer.hasMisplacedDescriptor }
  var hasTooManyDescriptors: Bool { receiveBuffer.hasTooManyDescriptors }

  func next() throws(Violation) -> Frame? { try receiveBuffer.next() }
  func hasDescriptors(of frame: Frame) -> Bool { receiveBuffer.hasDescriptors(of: frame) }
  func body(of frame: Frame) -> [UInt8] { receiveBuffer.body(of: frame) }
  func take(_ frame: Frame) { receiveBuffer.take(frame, into: &queue) }
  func drop(_ frame: Frame) { receiveBuffer.drop(frame, socket) }

  /// Takes all complete frames and returns them.
  @discardableResult
  func takeAll() throws -> [Frame] {
    var frames: [Frame] = []
    while let frame = try receiveBuffer.next() {
      frames.append(frame)
      receiveBuffer.take(frame, into: &queue)
    }
    return frames
  }

  /// Returns the taken bytes, carriers as zeros, and empties the queue.
  func contents() -> [UInt8] {
    var bytes: [UInt8] = []
    while !queue.isEmpty {
      if queue.frontIsDescriptor {
        bytes.append(0)
        queue.drop(1)
        continue
      }
      let used = queue.gather(into: pool.runs, limit: .max)
      let runs = pool.runs[0..<used].map { UnsafeRawBufferPointer(start: $0.base, count: $0.count) }
      let sum = runs.reduce(0) { $0 + $1.count }
      for run in runs { bytes += run }
      queue.drop(sum)
    }
    return bytes
  }

  /// The serials of the headers that `lookAhead` shows.
  func seen() throws -> [UInt32] {
    var serials: [UInt32] = []
    try receiveBuffer.lookAhead { serials.append($0.serial) }
    return serials
  }
}

/// A packet whose payload depends on its serial.
func packet(_ serial: UInt32, _ length: Int, kind: PacketKind = .call) -> [UInt8] {
  Stamp.packet(
    PacketHeader(procedure: 3, kind: kind, serial: serial),
    (0..<length - Limits.header).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(serial)) })
}
