// Bytes received from one socket and not routed yet.

/// The receiving half of a link: the segments in the order they were filled, a scanner over them, and the received
/// descriptors. The relay takes packets from the front as slices of the segments they lie in.
///
///     front          rest …
///     [···head▓▓▓▓▓] [▓▓▓▓▓▓] [▓▓▓room]       ▓ = `waiting` bytes
///
/// An idle connection holds no segment: an empty buffer owns none, and a partial header is kept in `aside`.
struct ReceiveBuffer: ~Copyable {
  /// With less room than this, a read also gets a second segment.
  private static let comfortableRoom = 64 * 1024
  /// The most descriptors that may wait, including those of packets held back. More than this looks like an attempt
  /// to exhaust the process's descriptors.
  static let mostDescriptors = 8 * Limits.descriptors

  private let pool: SegmentPool
  /// Packets of up to this many bytes are returned whole.
  var largestWhole: Int
  private var scanner: FrameScanner
  private var front: Segment?
  private var head = 0
  private var rest: [Segment] = []
  /// A partial header, between two reads.
  private var aside: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  private var asideCount = 0
  /// Bytes received and not taken.
  private(set) var waiting = 0
  /// Bytes taken since the connection began: the position of the head in the whole sequence.
  private(set) var position: UInt64 = 0
  /// Descriptors received, each with the position of its carrier byte.
  private var descriptors: [(position: UInt64, descriptor: Int32)] = []
  /// The position of the packet that contains the last descriptor, or whose carriers do.
  private var placed: UInt64 = 0
  /// The peer may send a descriptor with a byte between two packets.
  private let allowsStray: Bool
  /// A descriptor arrived with a byte that is not a carrier: in the middle of a packet, or of its header.
  private(set) var hasMisplacedDescriptor = false
  /// The position up to which `lookAhead` has shown packets.
  private var seen: UInt64 = 0
  /// The last read filled all the room it was given, so the kernel may have more.
  private(set) var wasFilled = false

  init(
    pool: SegmentPool, scanner: FrameScanner = FrameScanner(),
    largestWhole: Int = Limits.usualPacket, allowsStray: Bool = true
  ) {
    self.allowsStray = allowsStray
    self.pool = pool
    self.scanner = scanner
    self.largestWhole = largestWhole
  }

  deinit {
    assert(front == nil && rest.isEmpty, "a receive buffer is cleared before it is released")
  }

  /// Bytes that a packet forwarded in parts still needs.
  var unfinished: Int { scanner.unfinished }

  // MARK: Receiving

  /// Reads once, into all the room of the segments, but at most `limit` bytes. If the read fills that, the kernel may
  /// have more.
  mutating func receive(from transport: any Transport, limit: Int = .max) -> Outcome {
    let first = openRoom()
    var second: Segment?
    pool.runs[0] = Run(base: first.bytes + first.end, count: min(first.room, limit))
    var places = 1
    if first.room < min(ReceiveBuffer.comfortableRoom, limit),
      first.capacity > first.room + Segment.headroom
    {
      let fresh = pool.take()
      second = fresh
      pool.runs[1] = Run(base: fresh.bytes + fresh.end, count: min(fresh.room, limit - first.room))
      places = 2
    }
    var descriptor: Int32 = -1
    let outcome = transport.receive(
      into: UnsafeBufferPointer(rebasing: pool.runs[0..<places]), descriptor: &descriptor)
    var moved = 0
    if case .moved(let count) = outcome { moved = count }
    let here = min(moved, first.room)
    first.end += here
    if let second {
      if moved > here {
        second.end += moved - here
        rest.append(second)
      } else {
        pool.release(second)
      }
    }
    wasFilled = moved == pool.runs[0].count + (places > 1 ? pool.runs[1].count : 0)
    waiting += moved
    if descriptor >= 0 {
      let place = position &+ UInt64(waiting) &- 1
      descriptors.append((place, descriptor))
      if !isCarrier(at: place) { hasMisplacedDescriptor = true }
    }
    if moved == 0 { settle() }
    return outcome
  }

  /// The segment to read into: the last one, or a fresh one that begins with the bytes kept aside.
  private mutating func openRoom() -> Segment {
    if let last = rest.last { return last }
    if let front { return front }
    let fresh = pool.take()
    if asideCount > 0 {
      fresh.start = Segment.headroom - asideCount
      withUnsafeBytes(of: &aside) { kept in
        if let base = kept.baseAddress {
          (fresh.bytes + fresh.start).copyMemory(from: base, byteCount: asideCount)
        }
      }
      asideCount = 0
    }
    head = fresh.start
    front = fresh
    return fresh
  }

  // MARK: Taking

  /// The next frame that can be forwarded, or nil.
  mutating func next() throws(Violation) -> Frame? {
    // The scanner does not read the bytes of a packet forwarded in parts, so they need not be contiguous.
    if scanner.unfinished > 0 { return scanner.rest(available: waiting) }
    guard let place = look(atOffset: 0) else { return nil }
    return try scanner.frame(at: place, available: waiting, largestWhole: largestWhole)
  }

  /// The run of packets right behind a whole one without descriptors, as far as it lies in the same segment. They
  /// differ from it only in their length and payload, and their payload is not empty. The relay decides once for the
  /// whole run, because streams of small packets would spend most of their time on those decisions.
  func run(behind frame: Frame) -> (bytes: Int, packets: Int) {
    guard let front, descriptors.isEmpty else { return (0, 0) }
    return run(
      behind: front.bytes + head, length: frame.length, available: front.end - head)
  }

  /// The run behind the packet of `length` bytes at `first`, within `available` bytes from `first` on.
  private func run(
    behind first: UnsafeRawPointer, length: Int, available: Int
  ) -> (bytes: Int, packets: Int) {
    var end = length
    var packets = 0
    while available - end > Limits.header {
      let next = first + end
      let length = Int(UInt32(bigEndian: next.loadUnaligned(as: UInt32.self)))
      guard length > Limits.header, length <= min(largestWhole, available - end),
        PacketHeader.areAlike(first, next)
      else { break }
      end += length
      packets += 1
    }
    return (end - length, packets)
  }

  // MARK: Packets whose payload goes another way

  /// How many bytes may be read so that the buffer ends with a header, or with the packet at the front.
  mutating func bytesToEdge() -> Int {
    if scanner.unfinished > 0 { return max(1, scanner.unfinished - waiting) }
    guard waiting >= Limits.header, let place = look(atOffset: 0) else {
      return max(1, Limits.header - waiting)
    }
    let length = Int(PacketHeader(at: place).length)
    // Bytes behind the packet are waiting already, or its length is invalid: `next` decides.
    return length > waiting && length <= Limits.packet ? length - waiting : Limits.usualPacket
  }

  /// The bytes of the header at the front, if exactly that has arrived of a packet.
  mutating func loneHeader() -> UnsafeRawBufferPointer? {
    guard waiting == Limits.header, scanner.unfinished == 0, descriptors.isEmpty,
      let place = look(atOffset: 0)
    else { return nil }
    return UnsafeRawBufferPointer(start: place, count: Limits.header)
  }

  /// The lone header at the front was forwarded, and so will be the packet's payload, in parts.
  mutating func beginPassing(_ header: PacketHeader) {
    scanner.beginPassing(header)
    advance(Limits.header) { _, _, _ in }
  }

  /// Payload of a packet forwarded in parts went another way.
  mutating func passed(_ count: Int) {
    scanner.passed(count)
    position &+= UInt64(count)
  }

  /// The kind of the packet that begins at the front; nil in the middle of a packet or until its header has arrived.
  mutating func frontKind() -> PacketKind? {
    guard scanner.unfinished == 0, waiting >= Limits.header, let place = look(atOffset: 0) else {
      return nil
    }
    return PacketHeader(at: place).kind
  }

  /// The bytes at `offset` from the head, contiguous as far as the scanner reads; nil if there are none. If a header
  /// lies across two segments, its beginning moves in front of its rest.
  private mutating func look(atOffset offset: Int) -> UnsafeMutableRawPointer? {
    guard offset < waiting, let front else { return nil }
    let within = front.end - head
    if offset < within, within - offset >= min(FrameScanner.sight, waiting - offset) {
      return front.bytes + head + offset
    }
    return lookFurther(atOffset: offset)
  }

  private mutating func lookFurther(atOffset offset: Int) -> UnsafeMutableRawPointer? {
    guard let front else { return nil }
    var index = -1
    var segment = front
    var from = head
    var left = offset
    while left >= segment.end - from {
      left -= segment.end - from
      index += 1
      guard index < rest.count else { return nil }
      segment = rest[index]
      from = segment.start
    }
    let here = segment.end - from - left
    let place = segment.bytes + from + left
    if index + 1 < rest.count, here < scanner.need(at: place, available: here) {
      // Only the beginning of a split header moves. The segment before then ends with a whole packet, or with the
      // rest of one forwarded in parts. So the headroom of the next segment is used only once.
      let next = rest[index + 1]
      precondition(next.start >= here, "the headroom of a segment is used once")
      next.start -= here
      (next.bytes + next.start).copyMemory(
        from: segment.bytes + segment.end - here, byteCount: here)
      segment.end -= here
      if segment.end == from { dropEmpty(index) }
      return next.bytes + next.start
    }
    return place
  }

  private mutating func dropEmpty(_ index: Int) {
    if index >= 0 {
      pool.release(rest.remove(at: index))
    } else {
      advanceFront()
    }
  }

  private mutating func advanceFront() {
    if let front { pool.release(front) }
    if rest.isEmpty {
      front = nil
    } else {
      let next = rest.removeFirst()
      front = next
      head = next.start
    }
  }

  /// Takes the frame from the front and queues it.
  mutating func take(_ frame: Frame, into queue: inout SegmentQueue) {
    // Most packets are small, without carriers, and followed by others in their segment.
    if frame.carriers == 0, let front, case let end = head + frame.length, end < front.end {
      queue.append(front, head, end)
      head = end
      waiting -= frame.length
      position &+= UInt64(frame.length)
      return
    }
    advance(frame.length - frame.carriers) { segment, start, end in
      queue.append(segment, start, end)
    }
    for _ in 0..<frame.carriers {
      if let descriptor = takeDescriptor() { queue.append(descriptor: descriptor) }
      advance(1) { _, _, _ in }
    }
  }

  /// Whether a descriptor arrived with each carrier byte of the frame at the front.
  func hasDescriptors(of frame: Frame) -> Bool {
    guard frame.carriers > 0 else { return true }
    guard descriptors.count >= frame.carriers else { return false }
    let first = position &+ UInt64(frame.length - frame.carriers)
    return (0..<frame.carriers).allSatisfy { descriptors[$0].position == first &+ UInt64($0) }
  }

  /// Drops the frame at the front with its descriptors.
  mutating func drop(_ frame: Frame, _ transport: any Transport) {
    advance(frame.length - frame.carriers) { _, _, _ in }
    for _ in 0..<frame.carriers { dropCarrier(transport) }
  }

  /// A copy of the received part of the body of the frame at the front, for the few packets that the broker itself
  /// reads.
  func body(of frame: Frame) -> [UInt8] { bytes(of: frame, from: Limits.header) }

  /// A copy of the bytes of the frame at the front from an offset on, `limit` at most, without its carriers.
  func bytes(of frame: Frame, from offset: Int, limit: Int = .max) -> [UInt8] {
    var copy: [UInt8] = []
    append(frame, from: offset, limit: limit, to: &copy)
    return copy
  }

  /// Appends such bytes to `copy`.
  func append(
    _ frame: Frame, from offset: Int = 0, limit: Int = .max, to copy: inout [UInt8]
  ) {
    var skip = offset
    var left = min(frame.length - frame.carriers - offset, limit)
    guard left > 0, let front else { return }
    copy.reserveCapacity(copy.count + left)
    var segment = front
    var start = head
    var next = 0
    while true {
      let skipped = min(skip, segment.end - start)
      skip -= skipped
      let part = min(segment.end - start - skipped, left)
      copy.append(
        contentsOf: UnsafeRawBufferPointer(start: segment.bytes + start + skipped, count: part))
      left -= part
      guard left > 0, next < rest.count else { return }
      segment = rest[next]
      start = segment.start
      next += 1
    }
  }

  /// Moves the head, and calls `piece` for each piece of a segment that it passes.
  private mutating func advance(_ length: Int, _ piece: (Segment, Int, Int) -> Void) {
    waiting -= length
    position &+= UInt64(length)
    var left = length
    while left > 0, let front {
      let here = min(left, front.end - head)
      piece(front, head, head + here)
      head += here
      left -= here
      if head == front.end, !rest.isEmpty { advanceFront() }
    }
  }

  /// Releases the segments that it does not need until the next read. The caller calls it at the end of a turn.
  mutating func settle() {
    guard rest.isEmpty, let front else { return }
    // While a send queue holds slices of the segment, later reads fill it further. With a fresh segment for each small
    // read, a few queued bytes could hold any number of segments.
    guard front.isUnshared || front.room < ReceiveBuffer.comfortableRoom else { return }
    if waiting == 0 {
      advanceFront()
    } else if waiting < Limits.header, scanner.unfinished == 0 {
      asideCount = waiting
      withUnsafeMutableBytes(of: &aside) { kept in
        kept.baseAddress?.copyMemory(from: front.bytes + head, byteCount: waiting)
      }
      advanceFront()
    }
  }

  /// Discards all bytes and descriptors.
  mutating func clear(_ transport: any Transport) {
    while front != nil { advanceFront() }
    asideCount = 0
    waiting = 0
    for (_, descriptor) in descriptors { transport.discard(descriptor: descriptor) }
    descriptors = []
  }

  // MARK: Moving to another process

  /// Writes the bytes and descriptors with the position in their packets, or reads them into an empty buffer.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try scanner.code(&coder)
    try coder.code(&position)
    try coder.code(&placed)
    try coder.code(&seen)
    if coder.isReading {
      var bytes: [UInt8] = []
      try coder.code(&bytes)
      fill(bytes)
    } else {
      try coder.write(waitingBytes)
    }
    let count = try coder.count(descriptors.count)
    for index in 0..<count {
      var (offset, descriptor): (UInt64, Int32) = (0, -1)
      if !coder.isReading {
        (offset, descriptor) = (
          descriptors[index].position &- position, descriptors[index].descriptor
        )
      }
      try coder.code(&offset, in: 0...UInt64(waiting))
      try coder.descriptor(&descriptor)
      if coder.isReading { descriptors.append((position &+ offset, descriptor)) }
    }
  }

  private var waitingBytes: [UInt8] {
    guard let front else {
      return withUnsafeBytes(of: aside) { Array($0[..<asideCount]) }
    }
    var bytes = Array(
      UnsafeRawBufferPointer(start: front.bytes + head, count: front.end - head))
    for segment in rest {
      bytes += UnsafeRawBufferPointer(
        start: segment.bytes + segment.start, count: segment.end - segment.start)
    }
    return bytes
  }

  private mutating func fill(_ bytes: [UInt8]) {
    var left = bytes[...]
    while !left.isEmpty {
      let segment: Segment
      if front == nil {
        segment = openRoom()
      } else {
        segment = pool.take()
        rest.append(segment)
      }
      let count = min(left.count, segment.room)
      left.prefix(count).withUnsafeBytes { source in
        if let base = source.baseAddress {
          (segment.bytes + segment.end).copyMemory(from: base, byteCount: count)
        }
      }
      segment.end += count
      left = left.dropFirst(count)
    }
    waiting = bytes.count
    settle()
  }

  // MARK: Descriptors

  private mutating func takeDescriptor() -> Int32? {
    guard let first = descriptors.first, first.position == position else { return nil }
    return descriptors.removeFirst().descriptor
  }

  /// Whether the next byte carries a descriptor. Between packets such a descriptor is a stray one: libvirt's servers
  /// return the descriptors of a refused call.
  var frontIsCarrier: Bool {
    guard let first = descriptors.first else { return false }
    return waiting > 0 && first.position == position
  }

  /// Whether a descriptor is allowed with the byte at `place`, the last one received. The bytes up to `place` decide
  /// it, so a misplaced descriptor is detected at once, even in an incomplete packet.
  private mutating func isCarrier(at place: UInt64) -> Bool {
    let passed = position &+ UInt64(scanner.unfinished)
    if place < passed { return place >= passed &- UInt64(scanner.unfinishedCarriers) }
    if placed < position { placed = passed }
    while true {
      if place == placed {
        if allowsStray { placed &+= 1 }
        return allowsStray
      }
      let offset = Int(placed &- position)
      // The header is incomplete, so no carrier can follow yet.
      guard let start = look(atOffset: offset),
        let (header, carriers) = try? scanner.edges(at: start, waiting - offset)
      else { return false }
      let end = placed &+ UInt64(header.length)
      if place < end { return false }
      if place < end &+ UInt64(carriers) { return true }
      placed = end &+ UInt64(carriers)
    }
  }

  /// Whether any descriptor waits.
  var holdsDescriptors: Bool { !descriptors.isEmpty }

  /// Whether more descriptors wait than a correct peer ever has under way.
  var hasTooManyDescriptors: Bool { descriptors.count > ReceiveBuffer.mostDescriptors }

  /// Drops the carrier at the front with its descriptor.
  mutating func dropCarrier(_ transport: any Transport) {
    if let descriptor = takeDescriptor() { transport.discard(descriptor: descriptor) }
    advance(1) { _, _, _ in }
  }

  // MARK: Looking ahead

  /// Shows the header of each packet behind the head once, without taking the packet. So the broker answers a client's
  /// PINGs even while it holds back the client's calls.
  mutating func lookAhead(_ show: (PacketHeader) -> Void) throws(Violation) {
    if seen < position { seen = position &+ UInt64(scanner.unfinished) }
    while seen >= position, seen &- position < UInt64(waiting) {
      let offset = Int(seen &- position)
      guard let place = look(atOffset: offset),
        let (header, carriers) = try scanner.edges(at: place, waiting - offset)
      else { return }
      seen &+= UInt64(header.length) &+ UInt64(carriers)
      show(header)
      // Skip the run of like packets in the front segment: their headers show nothing new.
      guard header.kind == .stream, let front, offset < front.end - head else { continue }
      let available = front.end - head - offset
      seen &+= UInt64(run(behind: place, length: Int(header.length), available: available).bytes)
    }
  }

  /// Whether `lookAhead` has shown the packet at the head.
  var frontWasSeen: Bool { seen > position }
}
