// The fuzz target for the receive buffer and its frame scanner, with reads cut at any byte.

@testable import Streams

/// The first eight bytes of the input set the size of segments, where reads are cut and whether the receive buffer
/// looks ahead; the rest are the peer's bytes. The forwarded bytes must be those that a simple walk over the whole
/// input finds.
func scanner(_ input: UnsafeRawBufferPointer) {
  guard input.count > 8 else { return }
  let orders = Array(input.prefix(8))
  let peer = CutSupply(Array(input.dropFirst(8)), cuts: orders)
  let pool = SegmentPool(capacity: 128 + Int(orders[0]), spare: 2)
  let expected = walk(peer.bytes)
  var forwarded: [UInt8] = []
  var violated = false
  // Bytes of the packet before its last byte that came in the same frame as its carriers.
  var waiting = 0
  do {
    var receiveBuffer = ReceiveBuffer(pool: pool, largestWhole: largestWhole)
    var queue = SegmentQueue(pool: pool)
    do throws(Violation) {
      reading: while case .moved = receiveBuffer.receive(from: peer) {
        if orders[1] & 1 != 0 { try receiveBuffer.lookAhead { _ in } }
        while let frame = try receiveBuffer.next() {
          // No descriptors arrive here, so a packet that announces some is the last.
          guard frame.carriers == 0 else {
            let isCutThrough = frame.header.length > UInt32(largestWhole)
            waiting = isCutThrough ? frame.length - frame.carriers - 1 : 0
            break reading
          }
          receiveBuffer.take(frame, into: &queue)
          forwarded += drained(&queue)
        }
        receiveBuffer.settle()
      }
    } catch {
      violated = true
    }
    receiveBuffer.clear(peer)
    queue.clear { _ in }
  }
  precondition(forwarded.elementsEqual(peer.bytes.prefix(forwarded.count)), "bytes were changed")
  precondition(forwarded.count <= expected.length, "more went on than there was")
  // Looking ahead finds a violation before all valid packets are forwarded.
  if orders[1] & 1 == 0 {
    precondition(
      forwarded.count + waiting == expected.length,
      "\(forwarded.count) and \(waiting) of \(expected.length) bytes")
    precondition(violated == expected.isViolated, "a violation was missed, or made up")
  }
  precondition(pool.heldCount == 0, "a segment was kept")
}

private let largestWhole = 200

/// The number of bytes that may be forwarded, and whether the next bytes break the protocol.
private func walk(_ bytes: [UInt8]) -> (length: Int, isViolated: Bool) {
  func word(_ offset: Int) -> UInt32 {
    bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }
  /// Whether an incomplete word can still be in the range.
  func isPossible(_ offset: Int, _ range: ClosedRange<UInt32>) -> Bool {
    let have = bytes[offset..<min(offset + 4, bytes.count)]
    let missing = UInt32(8 * (4 - have.count))
    let least = have.isEmpty ? 0 : have.reduce(0) { $0 << 8 | UInt32($1) } << missing
    let most = least | (have.isEmpty ? .max : ~(UInt32.max << missing))
    return least <= range.upperBound && most >= range.lowerBound
  }
  var offset = 0
  while offset < bytes.count {
    guard isPossible(offset, 28...33_554_436) else { return (offset, true) }
    guard bytes.count - offset >= 28 else { return (offset, false) }
    let length = word(offset)
    let kind = word(offset + 16)
    if kind == 4 || kind == 5 {
      guard length >= 32, isPossible(offset + 28, 0...32) else { return (offset, true) }
      guard bytes.count - offset >= 32 else { return (offset, false) }
      let count = word(offset + 28)
      if count > 0 {
        // The packet's last byte waits for descriptors that never arrive.
        let begun = min(bytes.count - offset, Int(length) - 1)
        return (Int(length) > largestWhole ? offset + begun : offset, false)
      }
    }
    guard bytes.count - offset >= Int(length) else {
      return (Int(length) > largestWhole ? bytes.count : offset, false)
    }
    offset += Int(length)
  }
  return (offset, false)
}

/// Removes and returns all bytes of a queue. It peeks at them as a send does.
private func drained(_ queue: inout SegmentQueue) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: queue.bytes)
  let count = bytes.withUnsafeMutableBytes { queue.peek(into: $0) }
  precondition(count == bytes.count, "a queue shows less than it holds")
  queue.drop(count)
  return bytes
}

extension UnsafeBufferPointer<Run> {
  /// Fills the buffers as the kernel does in a read; the first may be empty. Returns the number of bytes moved.
  func fill(from bytes: ArraySlice<UInt8>) -> Int {
    var rest = bytes
    for room in self where !rest.isEmpty {
      let here = rest.prefix(room.count)
      UnsafeMutableRawBufferPointer(start: room.base, count: room.count).copyBytes(from: here)
      rest = rest.dropFirst(here.count)
    }
    return bytes.count - rest.count
  }
}

/// A peer whose bytes arrive in pieces. The cuts are their sizes, used repeatedly.
private final class CutSupply: Transport {
  let bytes: [UInt8]
  let cuts: [UInt8]
  private var offset = 0
  private var turn = 0
  let carriesDescriptors = true

  init(_ bytes: [UInt8], cuts: [UInt8]) {
    self.bytes = bytes
    self.cuts = cuts
  }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    guard offset < bytes.count else { return .end }
    turn += 1
    let count = rooms.fill(from: bytes[offset...].prefix(1 + Int(cuts[turn % cuts.count])))
    offset += count
    return .moved(count)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome { .blocked(.write) }
  func send(descriptor: Int32) -> Outcome { .blocked(.write) }
  func discard(descriptor: Int32) {}
}
