// The calls of one client that are under way, by program, version and serial.

/// An open-addressed table, because the relay looks up a stream for each of its packets. It allocates at the first call
/// and grows with the greatest number of calls under way at a time.
///
/// Its slots are memory of its own and not an array, which would be checked for other owners at each change.
struct CallTable: ~Copyable {
  /// A vacant slot has the upstream -1. A call holds no reference, so no slot is ever deinitialized.
  private var slots = UnsafeMutableBufferPointer<Call>(start: nil, count: 0)
  private(set) var count = 0
  /// Calls whose reply is awaited.
  private(set) var awaitedCount = 0
  /// The packets of the calls that may be sent again.
  var copies = CallCopies()
  /// The last ended call that had a stream.
  private(set) var lastEnded = CallTable.vacant

  private static let vacant = Call(PacketHeader(procedure: 0, kind: .call, serial: 0), upstream: -1)

  deinit { slots.deallocate() }

  private func isVacant(_ index: Int) -> Bool { slots[index].upstream < 0 }

  private func home(_ serial: UInt32, _ program: UInt32) -> Int {
    // Serials count up, so they spread by themselves. The Fibonacci multiplier mixes in the program.
    let mixed = (UInt64(serial) ^ UInt64(program) << 32) &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: mixed >> 40) & (slots.count - 1)
  }

  /// The index of the call whose stream a packet belongs to. At most one exists: the relay refuses a second.
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

  /// The index of the call that this reply of an upstream answers. A client may use a serial for several calls at a
  /// time. A call of the reply's procedure is preferred.
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

  /// The index of this call, or of one that is equal in all fields that the table compares.
  func find(_ call: Call) -> Int? {
    guard count > 0 else { return nil }
    var index = home(call.serial, call.program)
    while !isVacant(index) {
      if slots[index].isLike(call) { return index }
      index = (index + 1) & (slots.count - 1)
    }
    return nil
  }

  /// The call at an index that a search returned. An index is valid until the next change of the table.
  subscript(index: Int) -> Call { slots[index] }

  /// Adds a call. Another call may have the same serial, but not a stream of the same procedure.
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
    let old = slots
    slots = .allocate(capacity: max(8, old.count * 2))
    slots.initialize(repeating: CallTable.vacant)
    for call in old where call.upstream >= 0 { place(call) }
    old.deallocate()
  }

  /// The reply has arrived. It ends a refused call and a call without a stream.
  mutating func answered(at index: Int, _ status: PacketStatus) {
    guard !slots[index].isAnswered else { return }
    slots[index].isAnswered = true
    awaitedCount -= 1
    slots[index].stream?.opened(status)
    removeIfOver(at: index)
  }

  /// Decides a stream packet from the client, and counts it if the relay forwards it.
  mutating func client(at index: Int, _ header: PacketHeader) -> StreamDecision {
    guard let decision = slots[index].stream?.client(header.kind, header.status) else {
      return .drop
    }
    if decision == .relay { passedUp(at: index, payload: header.payloadLength, packets: 1) }
    return decision
  }

  /// Decides a stream packet from the server, and counts it if the relay forwards it. The last packet ends the call.
  mutating func server(at index: Int, _ header: PacketHeader) -> StreamDecision {
    let payload = header.payloadLength
    guard let decision = slots[index].stream?.server(header.kind, header.status, payload: payload)
    else { return .drop }
    if decision == .relay { passedDown(at: index, payload: payload, packets: 1) }
    // Data does not end a stream.
    if header.status != .continue { removeIfOver(at: index) }
    return decision
  }

  /// Sets the number of the call's stream in `MeteredStreams`.
  mutating func setMetered(at index: Int, _ number: Int) { slots[index].metered = number }

  /// Counts the rest of a run of packets, from the client or from the server.
  mutating func passedUp(at index: Int, payload: Int, packets: Int) {
    slots[index].up.add(payload: payload, packets: packets)
  }
  mutating func passedDown(at index: Int, payload: Int, packets: Int) {
    slots[index].down.add(payload: payload, packets: packets)
  }

  /// Ends the stream of a call on behalf of the broker. A call whose reply is awaited stays until the reply arrives.
  mutating func cut(at index: Int) {
    slots[index].stream?.cut()
    removeIfOver(at: index)
  }

  /// Removes every call of an upstream, in the order of their serials, and passes each to `each`.
  mutating func removeAll(upstream: Int, _ each: (Call) -> Void) {
    let gone = calls.filter { $0.upstream == upstream }
    for call in gone.sorted(by: { $0.serial < $1.serial }) {
      guard let index = find(call) else { continue }
      if !call.isAnswered { awaitedCount -= 1 }
      remove(at: index)
      each(call)
    }
  }

  /// Removes every call of an upstream but those that may be sent again, in the order of their serials, and passes each
  /// to `each`. Passes the packet of each other one to `again`, which can happen once for a call.
  mutating func removeUnrepeatable(
    upstream: Int, _ each: (Call) -> Void, again: ([UInt8]) -> Void
  ) {
    let old = calls.filter { $0.upstream == upstream }
    for call in old.sorted(by: { $0.serial < $1.serial }) {
      guard let index = find(call) else { continue }
      guard call.copy >= 0 else {
        if !call.isAnswered { awaitedCount -= 1 }
        remove(at: index)
        each(call)
        continue
      }
      again(copies[call.copy])
      copies.remove(call.copy)
      slots[index].copy = -1
    }
  }

  /// Calls whose reply has been awaited for `patience` seconds. Each is returned once.
  mutating func overdue(at now: Double, patience: Double) -> [Call] {
    var found: [Call] = []
    for index in slots.indices
    where !isVacant(index) && !slots[index].isAnswered && !slots[index].isOverdueReported
      && now - slots[index].startedAt >= patience
    {
      slots[index].isOverdueReported = true
      found.append(slots[index])
    }
    return found.sorted { $0.serial < $1.serial }
  }

  /// All calls under way.
  var calls: [Call] { slots.filter { $0.upstream >= 0 } }

  /// Writes the calls with the copies of their packets, or reads them into an empty table.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var all = calls
    // Their order in the table depends on its history.
    all.sort { ($0.serial, $0.program, $0.procedure) < ($1.serial, $1.program, $1.procedure) }
    try coder.code(&all, initially: CallTable.vacant) { (call, coder) throws(Violation) in
      try call.code(&coder)
      var copy = call.copy >= 0 ? copies[call.copy] : nil
      try coder.code(&copy, initially: []) { (bytes, coder) throws(Violation) in
        try coder.code(&bytes)
      }
      guard coder.isReading else { return }
      call.copy = copy.map { bytes in copies.add { $0 = bytes } } ?? -1
      insert(call)
      if call.isAnswered { awaitedCount -= 1 }
    }
  }

  private mutating func removeIfOver(at index: Int) {
    guard slots[index].isAnswered else { return }
    if let stream = slots[index].stream, stream.phase != .closed { return }
    remove(at: index)
  }

  private mutating func remove(at index: Int) {
    // Only the end of a call with a stream is reported.
    if slots[index].stream != nil { lastEnded = slots[index] }
    if slots[index].copy >= 0 { copies.remove(slots[index].copy) }
    slots[index].upstream = -1
    count -= 1
    // Displaced calls behind the hole move up, so that no search ends early.
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
