// Received bytes on their way to one or more sockets, and the pool of spare segments.

/// A piece of memory that reads fill. Packets stay in it: each queue with some of its bytes holds the segment, and
/// the last release returns it to its pool.
///
///     0 ≤ start ≤ end ≤ capacity
///     |  headroom  |  start … end: received  |  room  |
///
/// A handle without Swift reference counting. One loop's thread takes, holds and releases segments, per slice and not
/// per packet, so the count is a plain integer.
public struct Segment {
  /// Bytes kept free at the front of a fresh segment. A partial header at the end of the segment before moves there.
  /// Its greatest length is a header and a count, less one byte.
  public static let headroom = 32

  fileprivate struct Record {
    var start: Int
    var end: Int
    var holders: Int
    let capacity: Int
    let bytes: UnsafeMutableRawPointer
  }
  fileprivate let record: UnsafeMutablePointer<Record>

  var start: Int {
    get { record.pointee.start }
    nonmutating set {
      assert(newValue >= 0 && newValue <= record.pointee.end)
      record.pointee.start = newValue
    }
  }
  var end: Int {
    get { record.pointee.end }
    nonmutating set {
      assert(newValue >= record.pointee.start && newValue <= record.pointee.capacity)
      record.pointee.end = newValue
    }
  }
  var capacity: Int { record.pointee.capacity }
  var bytes: UnsafeMutableRawPointer { record.pointee.bytes }
  var room: Int { record.pointee.capacity - record.pointee.end }
  /// The segment has one holder: the caller.
  var isUnshared: Bool { record.pointee.holders == 1 }

  static func == (a: Segment, b: Segment) -> Bool { a.record == b.record }
  func hold() { record.pointee.holders += 1 }
}

/// Spare segments of one loop. The last one returned is the first one taken, so one buffer stays hot in the cache
/// while all queues are empty.
public final class SegmentPool {
  /// Bytes of a segment, enough for almost two packets of the usual size. In the benchmark, twice this size made
  /// downloads no faster.
  public static let usualCapacity = 512 * 1024

  public let capacity: Int
  private let most: Int
  private var spare: [Segment] = []
  /// The pool that this one takes its segments from.
  private let parent: SegmentPool?
  /// Segments held now.
  public private(set) var heldCount = 0
  /// Scratch space for the runs of one read or send. A loop needs only one.
  let runs: UnsafeMutableBufferPointer<Run>

  /// - Parameters:
  ///   - capacity: bytes of each segment.
  ///   - spare: the most unused segments to keep. The pool frees the others.
  public init(capacity: Int = SegmentPool.usualCapacity, spare most: Int = 16) {
    precondition(
      capacity >= 2 * Segment.headroom, "a segment holds at least a header and its headroom")
    self.capacity = capacity
    self.most = most
    parent = nil
    spare.reserveCapacity(most)
    runs = .allocate(capacity: 64)
  }

  /// A pool that takes its segments from `parent` and counts those of its own holders.
  public init(sharing parent: SegmentPool) {
    capacity = parent.capacity
    most = 0
    runs = parent.runs
    self.parent = parent
  }

  /// Takes an empty segment, held once.
  func take() -> Segment {
    heldCount += 1
    if let parent { return parent.take() }
    if let segment = spare.popLast() {
      segment.record.pointee.start = Segment.headroom
      segment.record.pointee.end = Segment.headroom
      segment.record.pointee.holders = 1
      return segment
    }
    let record = UnsafeMutablePointer<Segment.Record>.allocate(capacity: 1)
    record.initialize(
      to: Segment.Record(
        start: Segment.headroom, end: Segment.headroom, holders: 1, capacity: capacity,
        bytes: .allocate(byteCount: capacity, alignment: 64)))
    return Segment(record: record)
  }

  /// Releases one hold. The last release returns the segment.
  func release(_ segment: Segment) {
    let holders = segment.record.pointee.holders - 1
    assert(holders >= 0, "a segment is released as often as it was held")
    segment.record.pointee.holders = holders
    if holders == 0 { takeBack(segment) }
  }

  private func takeBack(_ segment: Segment) {
    heldCount -= 1
    if let parent { return parent.takeBack(segment) }
    if spare.count < most { spare.append(segment) } else { free(segment) }
  }

  /// Unused segments in the pool.
  public var spareCount: Int { spare.count }

  /// Frees unused segments until `count` are left. It keeps those returned last.
  public func shed(keeping count: Int) {
    let surplus = spare.prefix(max(0, spare.count - count))
    for segment in surplus { free(segment) }
    spare.removeFirst(surplus.count)
  }

  private func free(_ segment: Segment) {
    segment.bytes.deallocate()
    segment.record.deallocate()
  }

  deinit {
    guard parent == nil else { return }
    for segment in spare { free(segment) }
    runs.deallocate()
  }
}
