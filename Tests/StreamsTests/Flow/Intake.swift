// An inlet with everything around it that a test needs.
@testable import Streams

/// An inlet with a socket to read from and a queue to take to.
final class Intake {
  let pool: SegmentPool
  let socket = PiecedTransport()
  var inlet: Inlet
  var queue: SegmentQueue

  init(segment: Int = 256, largestWhole: Int = Limits.usualPacket, allowsStray: Bool = true) {
    pool = SegmentPool(capacity: segment)
    inlet = Inlet(pool: pool, largestWhole: largestWhole, allowsStray: allowsStray)
    queue = SegmentQueue(pool: pool)
  }

  deinit {
    inlet.clear(socket)
    queue.clear { _ in }
  }

  @discardableResult
  func read(_ bytes: [UInt8], descriptor: Int32 = -1) -> Outcome {
    read(bytes[...], descriptor: descriptor)
  }

  @discardableResult
  func read(_ bytes: ArraySlice<UInt8>, descriptor: Int32 = -1) -> Outcome {
    socket.supply(bytes, descriptor: descriptor)
    return inlet.receive(from: socket)
  }

  /// One read of what the socket still has.
  @discardableResult
  func read() -> Outcome { inlet.receive(from: socket) }

  var wasFilled: Bool { inlet.wasFilled }
  var frontIsCarrier: Bool { inlet.frontIsCarrier }
  var frontWasSeen: Bool { inlet.frontWasSeen }
  var hasMisplacedDescriptor: Bool { inlet.hasMisplacedDescriptor }
  var hasTooManyDescriptors: Bool { inlet.hasTooManyDescriptors }

  func next() throws(Violation) -> Frame? { try inlet.next() }
  func hasDescriptors(of frame: Frame) -> Bool { inlet.hasDescriptors(of: frame) }
  func body(of frame: Frame) -> [UInt8] { inlet.body(of: frame) }
  func take(_ frame: Frame) { inlet.take(frame, into: &queue) }
  func drop(_ frame: Frame) { inlet.drop(frame, socket) }

  /// Takes every frame there is, with the part each is.
  @discardableResult
  func takeAll() throws -> [Frame] {
    var frames: [Frame] = []
    while let frame = try inlet.next() {
      frames.append(frame)
      inlet.take(frame, into: &queue)
    }
    return frames
  }

  /// What has been taken, carriers as zeros, and lets go of it.
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

  /// The headers `lookAhead` shows now.
  func seen() throws -> [UInt32] {
    var serials: [UInt32] = []
    try inlet.lookAhead { serials.append($0.serial) }
    return serials
  }
}

/// A packet whose payload says which it is.
func packet(_ serial: UInt32, _ length: Int, kind: PacketKind = .call) -> [UInt8] {
  Stamp.packet(
    PacketHeader(procedure: 3, kind: kind, serial: serial),
    (0..<length - Limits.header).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(serial)) })
}
