// (program, version, serial) → calls: what one client has under way.

/// A call that was passed on and is not over: its reply is awaited, or its stream lives.
public struct Call: Sendable {
  public let program: UInt32
  public let version: UInt32
  public let serial: UInt32
  public let procedure: Int32
  /// Which upstream serves it.
  public fileprivate(set) var upstream: Int
  public internal(set) var isAnswered = false
  /// The stream it opened, if its procedure opens one.
  public internal(set) var stream: CallStream?
  /// The number of its stream among those with a rate; -1: it has none.
  var metered = -1
  /// Whose it is and what it does, as far as its procedure is known: otherwise the most it can.
  public let driver: Driver
  public let access: Access
  /// What its stream is for.
  public let kind: StreamKind
  /// When it was passed on, in seconds on the owner's clock.
  public let startedAt: Double
  /// Stream payload that has passed, in bytes, and in how many packets.
  public internal(set) var bytesUp: UInt64 = 0
  public internal(set) var bytesDown: UInt64 = 0
  public internal(set) var packetsUp: UInt64 = 0
  public internal(set) var packetsDown: UInt64 = 0
  /// It was told of as overdue.
  fileprivate var isToldOf = false

  public init(
    _ header: PacketHeader, upstream: Int, stream: CallStream? = nil, at now: Double = 0,
    known: Procedure? = nil
  ) {
    program = header.program
    version = header.version
    serial = header.serial
    procedure = header.procedure
    self.upstream = upstream
    self.stream = stream
    kind = stream == nil ? .other : StreamKind(opening: header)
    startedAt = now
    driver = known?.driver ?? .hypervisor
    access = known?.access ?? .change
  }

  func has(_ header: PacketHeader) -> Bool {
    serial == header.serial && program == header.program && version == header.version
  }

  fileprivate func isLike(_ call: Call) -> Bool {
    serial == call.serial && program == call.program && version == call.version
      && procedure == call.procedure && upstream == call.upstream
      && isAnswered == call.isAnswered && (stream == nil) == (call.stream == nil)
  }

  /// Its stream was ended here, before its reply came.
  public internal(set) var isCut = false

  /// It has a stream that is not over.
  public var isStreamAlive: Bool { stream.map { $0.phase != .closed } ?? false }

  /// Its header, as far as it was kept.
  public var header: PacketHeader {
    PacketHeader(
      program: program, version: version, procedure: procedure, kind: .call, serial: serial)
  }
}

/// An open-addressed table, because a stream is looked up for each of its packets. It owns memory only
/// once a call was made, and as much as the most calls that were under way at a time.
struct CallTable {
  /// A place without a call has no upstream.
  private var slots: [Call] = []
  private(set) var count = 0
  /// Calls whose reply is awaited.
  private(set) var awaitedCount = 0
  /// The call with a stream that was over last.
  private(set) var lastEnded = CallTable.vacant

  private static let vacant = Call(PacketHeader(procedure: 0, kind: .call, serial: 0), upstream: -1)

  private func isVacant(_ index: Int) -> Bool { slots[index].upstream < 0 }

  private func home(_ serial: UInt32, _ program: UInt32) -> Int {
    // Serials count up, so they spread by themselves; Fibonacci's multiplier mixes the program in.
    let mixed = (UInt64(serial) ^ UInt64(program) << 32) &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: mixed >> 40) & (slots.count - 1)
  }

  /// Where the call is whose stream a packet belongs to. There is one at most: `insert` is not called for a second.
  func findStream(_ header: PacketHeader) -> Int? {
    guard count > 0 else { return nil }
    var index = home(header.serial, header.program)
    while !isVacant(index) {
      if slots[index].has(header), slots[index].procedure == header.procedure,
        slots[index].stream != nil
      {
        return index
      }
      index = (index + 1) & (slots.count - 1)
    }
    return nil
  }

  /// Where a call is that this reply of an upstream answers. A client may use a serial for several calls at a time: a
  /// call of the reply's procedure comes first.
  func findAwaited(_ header: PacketHeader, upstream: Int) -> Int? {
    guard count > 0 else { return nil }
    var other: Int?
    var index = home(header.serial, header.program)
    while !isVacant(index) {
      if slots[index].upstream == upstream, !slots[index].isAnswered, slots[index].has(header) {
        if slots[index].procedure == header.procedure { return index }
        other = other ?? index
      }
      index = (index + 1) & (slots.count - 1)
    }
    return other
  }

  /// Where this call is, or one that differs from it in nothing that matters here.
  func find(_ call: Call) -> Int? {
    guard count > 0 else { return nil }
    var index = home(call.serial, call.program)
    while !isVacant(index) {
      if slots[index].isLike(call) { return index }
      index = (index + 1) & (slots.count - 1)
    }
    return nil
  }

  /// The call at a place that was found. Places are good until the next change of the table.
  subscript(index: Int) -> Call { slots[index] }

  /// Adds a call. Its serial may be that of another one, but of no stream of the same procedure.
  mutating func insert(_ call: Call) {
    if (count + 1) * 2 > slots.count { grow() }
    place(call)
    count += 1
    awaitedCount += 1
  }

  private mutating func place(_ call: Call) {
    var index = home(call.serial, call.program)
    while !isVacant(index) { index = (index + 1) & (slots.count - 1) }
    slots[index] = call
  }

  private mutating func grow() {
    let old = calls
    slots = Array(repeating: CallTable.vacant, count: max(8, slots.count * 2))
    for call in old { place(call) }
  }

  /// The reply came. A call without a stream is over with it; so is a refused one.
  mutating func answered(at index: Int, _ status: PacketStatus) {
    guard !slots[index].isAnswered else { return }
    slots[index].isAnswered = true
    awaitedCount -= 1
    slots[index].stream?.opened(status)
    removeIfOver(at: index)
  }

  /// A stream packet from the client passed, or did not.
  mutating func client(at index: Int, _ header: PacketHeader) -> StreamVerdict {
    guard let verdict = slots[index].stream?.client(header.kind, header.status) else {
      return .drop
    }
    if verdict == .relay { passedUp(at: index, payload: header.payloadLength, packets: 1) }
    return verdict
  }

  /// A stream packet from the server passed, or did not. The last one ends the call.
  mutating func server(at index: Int, _ header: PacketHeader) -> StreamVerdict {
    let payload = header.payloadLength
    guard let verdict = slots[index].stream?.server(header.kind, header.status, payload: payload)
    else { return .drop }
    if verdict == .relay { passedDown(at: index, payload: payload, packets: 1) }
    // Data ends no stream.
    if header.status != .continue { removeIfOver(at: index) }
    return verdict
  }

  /// From now on its stream has a rate.
  mutating func setMetered(at index: Int, _ number: Int) { slots[index].metered = number }

  /// More data passed from the client, or from the server, as the packet before it did.
  mutating func passedUp(at index: Int, payload: Int, packets: Int) {
    slots[index].bytesUp &+= UInt64(payload)
    slots[index].packetsUp &+= UInt64(packets)
  }
  mutating func passedDown(at index: Int, payload: Int, packets: Int) {
    slots[index].bytesDown &+= UInt64(payload)
    slots[index].packetsDown &+= UInt64(packets)
  }

  /// Ends the stream of a call by our own decision. A call whose reply is awaited stays until that comes.
  mutating func cut(at index: Int) {
    slots[index].stream?.cut()
    slots[index].isCut = true
    removeIfOver(at: index)
  }

  /// Ends every call of an upstream, telling each, in the order of their serials.
  mutating func removeAll(upstream: Int, _ each: (Call) -> Void) {
    let gone = calls.filter { $0.upstream == upstream }
    for call in gone.sorted(by: { $0.serial < $1.serial }) {
      guard let index = find(call) else { continue }
      if !call.isAnswered { awaitedCount -= 1 }
      remove(at: index)
      each(call)
    }
  }

  /// Calls whose reply has been awaited for `patience` seconds, each told once in its life.
  mutating func overdue(at now: Double, patience: Double) -> [Call] {
    var found: [Call] = []
    for index in slots.indices
    where !isVacant(index) && !slots[index].isAnswered && !slots[index].isToldOf
      && now - slots[index].startedAt >= patience
    {
      slots[index].isToldOf = true
      found.append(slots[index])
    }
    return found.sorted { $0.serial < $1.serial }
  }

  /// Everything under way, for those who look.
  var calls: [Call] { slots.filter { $0.upstream >= 0 } }

  private mutating func removeIfOver(at index: Int) {
    guard slots[index].isAnswered else { return }
    if let stream = slots[index].stream, stream.phase != .closed { return }
    remove(at: index)
  }

  private mutating func remove(at index: Int) {
    // Calls without a stream are many, and nobody asks for them again.
    if slots[index].stream != nil { lastEnded = slots[index] }
    slots[index].upstream = -1
    count -= 1
    // Those behind that had to make way move up, so that no search ends early.
    var hole = index
    var next = (index + 1) & (slots.count - 1)
    while !isVacant(next) {
      let home = home(slots[next].serial, slots[next].program)
      if (next - home) & (slots.count - 1) >= (next - hole) & (slots.count - 1) {
        slots.swapAt(hole, next)
        hole = next
      }
      next = (next + 1) & (slots.count - 1)
    }
  }
}
