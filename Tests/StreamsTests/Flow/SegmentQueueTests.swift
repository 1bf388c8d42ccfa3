// The bytes queued for a socket: slices of segments in order, and references to those segments.
import Testing

@testable import Simulator
@testable import Streams

@Suite("segment queue")
struct SegmentQueueTests {
  /// A queue and a segment pool.
  private final class Store {
    let pool: SegmentPool
    var queue: SegmentQueue

    init(segment: Int = 256, spare: Int = 16) {
      pool = SegmentPool(capacity: segment, spare: spare)
      queue = SegmentQueue(pool: pool)
    }
    deinit { queue.clear { _ in } }

    var isEmpty: Bool { queue.isEmpty }
    var frontIsDescriptor: Bool { queue.frontIsDescriptor }

    /// A segment with `bytes` and one reference.
    func segment(_ bytes: [UInt8]) -> Segment {
      let segment = pool.take()
      (segment.bytes + segment.end).copyMemory(from: bytes, byteCount: bytes.count)
      segment.end += bytes.count
      return segment
    }

    func copy(_ bytes: [UInt8]) { bytes.withUnsafeBytes { queue.append(copying: $0) } }

    /// The content of each run that `gather` lists.
    func gathered(_ limit: Int = .max, places: Int = 64) -> [[UInt8]] {
      let used = queue.gather(
        into: UnsafeMutableBufferPointer(rebasing: pool.runs[0..<places]), limit: limit)
      return pool.runs[0..<used].map {
        Array(UnsafeRawBufferPointer(start: $0.base, count: $0.count))
      }
    }

    func peeked(_ count: Int) -> [UInt8] {
      var room = [UInt8](repeating: 0xEE, count: count)
      let there = room.withUnsafeMutableBytes { queue.peek(into: $0) }
      return Array(room[..<there])
    }

    func cleared() -> [Int32] {
      var descriptors: [Int32] = []
      queue.clear { descriptors.append($0) }
      return descriptors
    }
  }

  @Test("adjacent bytes of a segment form one slice")
  func merging() {
    let store = Store()
    let segment = store.segment([1, 2, 3, 4, 5, 6, 7, 8])
    store.queue.append(segment, 32, 34)
    store.queue.append(segment, 34, 37)
    #expect(store.gathered() == [[1, 2, 3, 4, 5]])
    store.queue.append(segment, 38, 40)
    #expect(store.gathered() == [[1, 2, 3, 4, 5], [7, 8]], "a gap between them keeps two apart")
    let other = store.segment([9])
    store.queue.append(other, 32, 33)
    #expect(store.gathered() == [[1, 2, 3, 4, 5], [7, 8], [9]])
    #expect(store.queue.bytes == 8)
    store.pool.release(segment)
    store.pool.release(other)
  }

  @Test("a segment is held until its last byte has been sent")
  func release() {
    let store = Store()
    let segment = store.segment([1, 2, 3, 4])
    store.queue.append(segment, 32, 33)
    store.queue.append(segment, 34, 36)
    store.pool.release(segment)
    #expect(store.pool.heldCount == 1)
    store.queue.drop(1)
    #expect(store.pool.heldCount == 1)
    store.queue.drop(1)
    #expect(store.pool.heldCount == 1)
    #expect(store.gathered() == [[4]])
    store.queue.drop(1)
    #expect(store.pool.heldCount == 0)
    #expect(store.isEmpty)
    #expect(store.queue.bytes == 0)
  }

  @Test("gathering stops at the byte limit, at the number of places, and at a descriptor")
  func gathering() {
    let store = Store()
    for number in 0..<4 as Range<UInt8> {
      let segment = store.segment([number, number])
      store.queue.append(segment, 32, 34)
      store.pool.release(segment)
    }
    #expect(store.gathered(3) == [[0, 0], [1]])
    #expect(store.gathered(4) == [[0, 0], [1, 1]])
    #expect(store.gathered(places: 3) == [[0, 0], [1, 1], [2, 2]])
    store.queue.append(descriptor: 50)
    store.copy([7])
    #expect(store.gathered() == [[0, 0], [1, 1], [2, 2], [3, 3]])
    #expect(store.queue.bytes == 10, "the carrier counts")
    #expect(!store.frontIsDescriptor)
    store.queue.drop(8)
    #expect(store.frontIsDescriptor)
    #expect(store.queue.frontDescriptor == 50)
    #expect(store.gathered() == [])
    #expect(store.peeked(4) == [])
    store.queue.drop(1)
    #expect(store.gathered() == [[7]])
    #expect(store.queue.frontDescriptor == -1)
  }

  @Test("dropping crosses slices and ends inside one", arguments: 0...12)
  func dropping(count: Int) {
    let store = Store()
    for start in [0, 4, 8] as [UInt8] {
      let segment = store.segment([start, start + 1, start + 2, start + 3])
      store.queue.append(segment, 32, 36)
      store.pool.release(segment)
    }
    store.queue.drop(count)
    #expect(store.gathered().flatMap { $0 } == (UInt8(count)..<12).map { $0 })
    #expect(store.queue.bytes == 12 - count)
    #expect(store.pool.heldCount == 3 - count / 4)
  }

  @Test("peeking copies from the front and removes nothing")
  func peeking() {
    let store = Store()
    #expect(store.peeked(5) == [])
    store.copy([1, 2, 3])
    let segment = store.segment([4, 5])
    store.queue.append(segment, 32, 34)
    store.pool.release(segment)
    #expect(store.peeked(2) == [1, 2])
    #expect(store.peeked(4) == [1, 2, 3, 4])
    #expect(store.peeked(9) == [1, 2, 3, 4, 5])
    store.queue.append(descriptor: 3)
    store.copy([6])
    #expect(store.peeked(9) == [1, 2, 3, 4, 5])
    #expect(store.queue.bytes == 7)
  }

  @Test("copies fill a segment of their own and continue in it")
  func copying() {
    let store = Store()
    store.copy([1, 2])
    store.copy([3])
    #expect(store.gathered() == [[1, 2, 3]])
    #expect(store.pool.heldCount == 1)
    let long = (0..<600).map { UInt8(truncatingIfNeeded: $0) }
    store.copy(long)
    #expect(difference(store.gathered().flatMap { $0 }, [1, 2, 3] + long) == nil)
    #expect(store.pool.heldCount == 3, "224 bytes fit into each")
    store.queue.drop(603)
    #expect(store.pool.heldCount == 0)
  }

  @Test("a copy is not appended to a segment that another owner still fills")
  func copyingBeside() {
    let store = Store()
    let segment = store.segment([1, 2, 3])
    store.queue.append(segment, 32, 34)
    // The receive buffer holds the segment and reads on after the third byte.
    store.copy([9, 9])
    (segment.bytes + segment.end).storeBytes(of: 4, as: UInt8.self)
    segment.end += 1
    store.queue.append(segment, 34, 36)
    #expect(store.gathered().flatMap { $0 } == [1, 2, 9, 9, 3, 4])
    store.pool.release(segment)
    // Now one slice alone holds it and ends at its last byte.
    store.queue.drop(4)
    store.copy([5])
    #expect(store.gathered() == [[3, 4, 5]])
    #expect(store.pool.heldCount == 1)
  }

  @Test("clearing returns the segments and hands out the descriptors that were not sent")
  func clearing() {
    let store = Store()
    store.copy([1])
    store.queue.append(descriptor: 50)
    store.copy([2])
    store.queue.append(descriptor: 51)
    #expect(store.cleared() == [50, 51])
    #expect(store.isEmpty)
    #expect(store.queue.bytes == 0)
    #expect(store.pool.heldCount == 0)
  }

  @Test("the queue equals a model under random operations", arguments: 0..<200 as Range<UInt64>)
  func model(seed: UInt64) {
    var random = Seed(seed)
    let store = Store(segment: 128, spare: 2)
    // Carriers have values from 256.
    var model: [Int] = []
    var next: UInt8 = 0
    func fresh(_ count: Int) -> [UInt8] {
      (0..<count).map { _ in
        next &+= 1
        return next
      }
    }
    for _ in 0..<300 {
      switch random.pick(0...6) {
      case 0:
        let bytes = fresh(random.pick(1...150))
        store.copy(bytes)
        model += bytes.map { Int($0) }
      case 1, 2:
        let bytes = fresh(random.pick(2...96))
        let segment = store.segment(bytes)
        let middle = random.pick(1...bytes.count - 1)
        store.queue.append(segment, 32, 32 + middle)
        if random.once(in: 3) {
          store.queue.append(descriptor: 7)
          model += bytes[..<middle].map { Int($0) } + [256 + 7]
          model += bytes[middle...].map { Int($0) }
        } else {
          model += bytes.map { Int($0) }
        }
        store.queue.append(segment, 32 + middle, segment.end)
        store.pool.release(segment)
      default:
        if store.frontIsDescriptor {
          #expect(model.first == 256 + Int(store.queue.frontDescriptor))
          store.queue.drop(1)
          model.removeFirst()
        } else {
          let found = store.gathered(random.pick(1...200), places: random.pick(1...8)).flatMap {
            $0
          }
          #expect(found.map { Int($0) } == Array(model.prefix(found.count)))
          #expect(
            store.peeked(12).map { Int($0) }.elementsEqual(model.prefix(12).prefix { $0 < 256 }))
          let count = found.isEmpty ? 0 : random.pick(0...found.count)
          store.queue.drop(count)
          model.removeFirst(count)
        }
      }
      #expect(store.queue.bytes == model.count)
      #expect(store.isEmpty == model.isEmpty)
    }
    #expect(store.cleared() == model.filter { $0 >= 256 }.map { Int32($0 - 256) })
    #expect(store.pool.heldCount == 0)
  }
}

@Suite("segment pool")
struct SegmentPoolTests {
  @Test("the segment returned last is reused first, empty")
  func lastFirst() {
    let pool = SegmentPool(capacity: 128)
    let first = pool.take()
    let second = pool.take()
    #expect(pool.heldCount == 2)
    first.end += 10
    first.start += 3
    pool.release(second)
    pool.release(first)
    let again = pool.take()
    #expect(again == first)
    #expect((again.start, again.end) == (Segment.headroom, Segment.headroom))
    #expect(again.room == 128 - Segment.headroom)
    pool.release(again)
    #expect(pool.heldCount == 0)
  }

  @Test(
    "segments above the kept number go back to the system, the one returned first before others")
  func shed() {
    let pool = SegmentPool(capacity: 128)
    let segments = (0..<5).map { _ in pool.take() }
    for segment in segments { pool.release(segment) }
    pool.shed(keeping: 2)
    #expect(pool.spareCount == 2)
    pool.shed(keeping: 9)
    #expect(pool.spareCount == 2)
    #expect(pool.take() == segments[4] && pool.take() == segments[3])
    #expect(pool.spareCount == 0 && pool.heldCount == 2)
    pool.shed(keeping: 0)
    for segment in segments[3...] { pool.release(segment) }
  }

  @Test("a segment returns to the pool with its last reference")
  func holders() {
    let pool = SegmentPool(capacity: 128)
    let segment = pool.take()
    #expect(segment.isUnshared)
    segment.hold()
    #expect(!segment.isUnshared)
    pool.release(segment)
    #expect(pool.heldCount == 1)
    #expect(segment.isUnshared)
    pool.release(segment)
    #expect(pool.heldCount == 0)
  }
}
