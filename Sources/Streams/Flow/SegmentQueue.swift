// The bytes and descriptors queued for one socket.

/// Slices of segments in order, with descriptors between them. It does no I/O. Neighbouring packets of a segment form
/// one slice, so enqueueing a packet usually only adds its length.
struct SegmentQueue: ~Copyable {
  private struct Slice {
    /// nil: a carrier byte with `descriptor`.
    var segment: Segment?
    var start: Int
    var end: Int
    var descriptor: Int32
  }

  private let pool: SegmentPool
  private var ring: UnsafeMutableBufferPointer<Slice>
  private var first = 0
  private var count = 0
  /// Queued bytes, carrier bytes included.
  private(set) var bytes = 0

  init(pool: SegmentPool) {
    self.pool = pool
    ring = UnsafeMutableBufferPointer(start: nil, count: 0)
  }

  deinit {
    assert(count == 0, "a queue is emptied before it goes, so that its segments return")
    ring.deallocate()
  }

  var isEmpty: Bool { count == 0 }
  var frontIsDescriptor: Bool { count > 0 && ring[first].segment == nil }
  var frontDescriptor: Int32 { count > 0 ? ring[first].descriptor : -1 }

  /// Enqueues `start..<end` of a segment, and holds the segment while any of it is queued.
  mutating func append(_ segment: Segment, _ start: Int, _ end: Int) {
    bytes += end - start
    if count > 0 {
      let last = (first + count - 1) & (ring.count - 1)
      if let there = ring[last].segment, there == segment, ring[last].end == start {
        ring[last].end = end
        return
      }
    }
    segment.hold()
    push(Slice(segment: segment, start: start, end: end, descriptor: -1))
  }

  /// Enqueues a carrier byte with a descriptor. The queue takes ownership of the descriptor.
  mutating func append(descriptor: Int32) {
    bytes += 1
    push(Slice(segment: nil, start: 0, end: 1, descriptor: descriptor))
  }

  /// Enqueues a copy of bytes that the broker made itself.
  mutating func append(copying source: UnsafeRawBufferPointer) {
    var rest = source
    while !rest.isEmpty {
      if count > 0 {
        let last = (first + count - 1) & (ring.count - 1)
        // Append to the segment if its bytes end where the slice ends and no receive buffer fills it.
        if let there = ring[last].segment, there.isUnshared, there.end == ring[last].end,
          there.room > 0
        {
          rest = fill(there, from: rest, since: ring[last].end)
          continue
        }
      }
      let segment = pool.take()
      rest = fill(segment, from: rest, since: segment.end)
      pool.release(segment)
    }
  }

  private mutating func fill(
    _ segment: Segment, from rest: UnsafeRawBufferPointer, since start: Int
  ) -> UnsafeRawBufferPointer {
    let count = min(rest.count, segment.room)
    if let base = rest.baseAddress {
      (segment.bytes + start).copyMemory(from: base, byteCount: count)
    }
    segment.end = start + count
    append(segment, start, start + count)
    return UnsafeRawBufferPointer(rebasing: rest[count...])
  }

  /// Lists the bytes at the front for one send, up to the next descriptor, `limit` bytes or the end of `runs`. Returns
  /// the number of runs used.
  func gather(into runs: UnsafeMutableBufferPointer<Run>, limit: Int) -> Int {
    var used = 0
    var left = limit
    while used < min(count, runs.count), left > 0 {
      let slice = ring[(first + used) & (ring.count - 1)]
      guard let segment = slice.segment else { break }
      let length = min(slice.end - slice.start, left)
      runs[used] = Run(base: segment.bytes + slice.start, count: length)
      left -= length
      used += 1
    }
    return used
  }

  /// The bytes at the front, if at least `length` of them are contiguous.
  func front(_ length: Int) -> UnsafeRawPointer? {
    guard count > 0, ring[first].end - ring[first].start >= length,
      let segment = ring[first].segment
    else { return nil }
    return UnsafeRawPointer(segment.bytes + ring[first].start)
  }

  /// Drops the whole packets at the front that end within `limit` bytes and lie in the first piece,
  /// without descriptors. Returns their bytes.
  mutating func dropPackets(_ limit: Int) -> Int {
    guard let base = front(FrameScanner.sight) else { return 0 }
    let end = min(limit, ring[first].end - ring[first].start)
    var length = 0
    while end - length >= Limits.header {
      let header = PacketHeader(at: base + length)
      guard Int(header.length) <= end - length, header.length >= UInt32(Limits.header),
        header.kind != .callWithDescriptors, header.kind != .replyWithDescriptors
      else { break }
      length += Int(header.length)
    }
    drop(length)
    return length
  }

  /// Copies up to `target.count` bytes from the front without taking them. It stops at the end and at the next
  /// descriptor. Returns the number of bytes copied.
  func peek(into target: UnsafeMutableRawBufferPointer) -> Int {
    var copied = 0
    var index = 0
    while index < count, copied < target.count {
      let slice = ring[(first + index) & (ring.count - 1)]
      guard let segment = slice.segment, let base = target.baseAddress else { break }
      let length = min(slice.end - slice.start, target.count - copied)
      (base + copied).copyMemory(from: segment.bytes + slice.start, byteCount: length)
      copied += length
      index += 1
    }
    return copied
  }

  /// Removes the first `length` bytes, sent or discarded.
  mutating func drop(_ length: Int) {
    assert(length <= bytes)
    bytes -= length
    var left = length
    while left > 0, count > 0 {
      let here = ring[first].end - ring[first].start
      guard left >= here else {
        ring[first].start += left
        return
      }
      left -= here
      pop()
    }
  }

  /// Removes everything. Queued descriptors are passed to `discard`.
  mutating func clear(_ discard: (Int32) -> Void) {
    while count > 0 {
      if ring[first].segment == nil { discard(ring[first].descriptor) }
      pop()
    }
    bytes = 0
  }

  /// Writes the bytes and descriptors, or reads them into an empty queue.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var index = 0
    while true {
      var run: [UInt8] = []
      if !coder.isReading { run = bytes(from: &index) }
      try coder.code(&run)
      if coder.isReading { run.withUnsafeBytes { append(copying: $0) } }
      var hasDescriptor = !coder.isReading && index < count
      try coder.code(&hasDescriptor)
      guard hasDescriptor else { return }
      var descriptor = coder.isReading ? -1 : ring[(first + index) & (ring.count - 1)].descriptor
      index += 1
      try coder.descriptor(&descriptor)
      if coder.isReading { append(descriptor: descriptor) }
    }
  }

  /// A copy of the bytes of the slices from `index` on, up to the next descriptor. Moves `index` behind them.
  private func bytes(from index: inout Int) -> [UInt8] {
    var run: [UInt8] = []
    while index < count {
      let slice = ring[(first + index) & (ring.count - 1)]
      guard let segment = slice.segment else { break }
      run += UnsafeRawBufferPointer(
        start: segment.bytes + slice.start, count: slice.end - slice.start)
      index += 1
    }
    return run
  }

  private mutating func pop() {
    if let segment = ring[first].segment { pool.release(segment) }
    first = (first + 1) & (ring.count - 1)
    count -= 1
  }

  private mutating func push(_ slice: Slice) {
    if count == ring.count { grow() }
    ring.initializeElement(at: (first + count) & (ring.count - 1), to: slice)
    count += 1
  }

  private mutating func grow() {
    let larger = UnsafeMutableBufferPointer<Slice>.allocate(capacity: max(4, ring.count * 2))
    for index in 0..<count {
      larger.initializeElement(at: index, to: ring[(first + index) & (ring.count - 1)])
    }
    ring.deallocate()
    ring = larger
    first = 0
  }
}
