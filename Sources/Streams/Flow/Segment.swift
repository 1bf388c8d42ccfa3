// Bytes the kernel gave, on their way to one or more sockets; and the pool of spare segments.

/// A piece of memory that one read filled. Packets are never moved out of it: each queue that
/// has some of its bytes holds it, and the last one that releases it returns it to its pool.
///
///     0 ≤ start ≤ end ≤ capacity
///     |  headroom  |  start … end: received  |  room  |
///
/// A handle without reference counting of its own: one loop's thread takes, holds and releases segments,
/// per slice and not per packet, so the count is a plain integer.
public struct Segment {
  /// Bytes kept free in front of a fresh segment, so that the part of a header that ended the
  /// segment before can be put there: the longest such part is a header and a count, less one byte.
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
  /// Nobody but the caller has any of it to send.
  var isUnshared: Bool { record.pointee.holders == 1 }

  static func == (a: Segment, b: Segment) -> Bool { a.record == b.record }
  func hold() { record.pointee.holders += 1 }
}

/// Spare segments of one loop. The last one returned is the first one taken, so that one buffer stays
/// hot in the cache while nothing waits anywhere.
public final class SegmentPool {
  /// Bytes of a segment. A packet of the usual size fits with as much again behind it; twice this size
  /// moved a download no faster in the bench.
  public static let usualCapacity = 512 * 1024

  public let capacity: Int
  private let most: Int
  private var spare: [Segment] = []
  /// Where this one has its segments from.
  private let parent: SegmentPool?
  /// Segments that are held now.
  public private(set) var heldCount = 0
  /// Where runs are gathered for one send; one loop needs just one such place.
  let runs: UnsafeMutableBufferPointer<Run>

  /// - Parameters:
  ///   - capacity: bytes of each segment.
  ///   - spare: how many unused ones to keep at most, the rest going back to the system.
  public init(capacity: Int = SegmentPool.usualCapacity, spare most: Int = 16) {
    precondition(
      capacity >= 2 * Segment.headroom, "a segment holds at least a header and its headroom")
    self.capacity = capacity
    self.most = most
    parent = nil
    spare.reserveCapacity(most)
    runs = .allocate(capacity: 64)
  }

  /// A pool that counts the segments of its own holders, and has them from another one.
  public init(sharing parent: SegmentPool) {
    capacity = parent.capacity
    most = 0
    runs = parent.runs
    self.parent = parent
  }

  /// An empty segment, held once.
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

  /// Lets go of one hold; the last one returns the segment.
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

  /// Unused ones that are kept.
  public var spareCount: Int { spare.count }

  /// Gives all but so many unused ones back to the system, the last returned being kept.
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
