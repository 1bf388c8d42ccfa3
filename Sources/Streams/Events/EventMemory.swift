// The event registrations of a client at one daemon, and what its events have told so far.

/// Remembers what is needed to register again at a daemon that was lost, and to tell the client what it has missed:
/// registrations with the callback IDs on both sides, and the states of objects whose life cycles the client follows.
///
/// While the daemon is away and until it has been surveyed, its events are held.
final class EventMemory {
  /// The most registrations of a client, and bytes of the arguments of one. A client with more is not kept.
  private static let mostRegistrations = 1024
  private static let longestArguments = 4096
  /// Bytes of events that are held at most.
  private static let mostHeld = 1 << 20

  /// A registration call under way, or one that ends a registration.
  private enum Change {
    case adds(Registration)
    /// A registration that the broker does not understand.
    case addsUnknown
    case removes(EventFamily, Registration?)

    mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
      var (kind, family, registration): (UInt8, EventFamily, Registration?) = (0, .legacy, nil)
      switch self {
      case .adds(let added): (kind, registration) = (1, added)
      case .addsUnknown: kind = 2
      case .removes(let its, let removed): (kind, family, registration) = (3, its, removed)
      }
      try coder.code(&kind, in: 1...3)
      try coder.code(&family)
      try coder.code(&registration, initially: .plain) { (registration, coder) throws(Violation) in
        try registration.code(&coder)
      }
      switch (kind, registration) {
      case (1, let added?): self = .adds(added)
      case (3, _): self = .removes(family, registration)
      default: self = .addsUnknown
      }
    }
  }

  /// A life cycle event and the registrations for which the daemon has still to send it.
  private struct Owed {
    var objects = ObjectKind.domain
    var key: ObjectKey = []
    var event = LifeCycleEvent(event: 0, name: [])
    var registrations: [Registration] = []

    mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
      try coder.code(&objects)
      try coder.code(&key)
      try event.code(&coder)
      try coder.code(&registrations, initially: .plain) { (registration, coder) throws(Violation) in
        try registration.code(&coder)
      }
    }
  }

  private(set) var registrations: [Registration] = []
  /// The client has a registration that cannot be made again.
  private(set) var hasUnknown = false
  private var changes: [(serial: UInt32, program: UInt32, change: Change)] = []
  private var states: [ObjectKind: ObjectStates] = [:]
  /// The last life cycle event, if it has not come for each registration that reports it.
  private var owed: Owed?
  /// The client has an ID that the daemon does not have, or may have.
  private var isMapped = false

  /// Events wait until the daemon, which was lost, has been registered with and surveyed.
  private(set) var isHolding = false
  private var held: [[UInt8]] = []
  private var heldBytes = 0
  /// So many of them came before the survey.
  private var heldBefore = 0
  private var surveys: [ObjectKind: ObjectStates] = [:]

  /// Every registration reports a life cycle whose states are known, so nothing is missed if the daemon is lost.
  var isWhole: Bool {
    registrations.allSatisfy { registration in
      registration.objects.flatMap { states[$0] }?.isWhole ?? false
    }
  }

  /// Whether the relay has to read events.
  var readsEvents: Bool { isHolding || isMapped || !states.isEmpty }

  /// An event that is no life cycle event goes to the client as it is.
  var mayPassUnread: Bool { !isHolding && !isMapped }

  // MARK: Moving to another process

  /// Writes the memory, or reads it into an empty one. It is not moved while events are held.
  func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&registrations, initially: .plain) { (registration, coder) throws(Violation) in
      try registration.code(&coder)
    }
    try coder.code(&hasUnknown)
    try coder.code(&isMapped)
    try coder.code(&owed, initially: Owed()) { (owed, coder) throws(Violation) in
      try owed.code(&coder)
    }
    try coder.code(&changes, initially: (0, 0, .addsUnknown)) { (change, coder) throws(Violation) in
      try coder.code(&change.serial)
      try coder.code(&change.program)
      try change.change.code(&coder)
    }
    for objects in ObjectKind.allCases {
      try coder.code(&states[objects], initially: ObjectStates(objects)) {
        (states, coder) throws(Violation) in try states.code(&coder)
      }
    }
  }

  // MARK: Registering

  /// A call that registers goes to the daemon. `arguments` is nil if they are too large to be read.
  func begins(_ call: PacketHeader, arguments: [UInt8]?) {
    var registration: Registration?
    if let arguments, arguments.count <= EventMemory.longestArguments,
      registrations.count + changes.count < EventMemory.mostRegistrations
    {
      registration = Registration(call, arguments: arguments)
    }
    changes.append((call.serial, call.program, registration.map { .adds($0) } ?? .addsUnknown))
  }

  /// What becomes of a call that ends a registration.
  enum Ending {
    /// It goes to the daemon as it is, or with these arguments.
    case forwarded
    case rewritten([UInt8])
    /// The daemon is away. The registration is forgotten, and the client gets this result.
    case done([UInt8])
  }

  /// A call that ends a registration goes to the daemon.
  func ends(_ call: PacketHeader, arguments: [UInt8]) -> Ending {
    guard let family = EventFamily.ended(by: call.program, call.procedure) else {
      return .forwarded
    }
    let number: Int32 = arguments.withUnsafeBytes { bytes in
      var reader = XDRReader(bytes)
      return (try? reader.int32()) ?? 0
    }
    let index = registrations.firstIndex { registration in
      guard registration.family == family else { return false }
      guard family == .legacy else { return registration.clientID == number }
      let isPlain = registration.procedure == 105
      return call.procedure == 106 ? isPlain : !isPlain && registration.event == number
    }
    guard let index else { return .forwarded }
    let registration = registrations[index]
    if isHolding {
      remove(registration)
      // CONNECT_DOMAIN_EVENT_DEREGISTER alone has a result: the number of registrations left.
      return .done(call.procedure == 106 ? [0, 0, 0, 0] : [])
    }
    changes.append((call.serial, call.program, .removes(family, registration)))
    guard family != .legacy, registration.daemonID != number else { return .forwarded }
    var writer = XDRWriter()
    writer.int32(registration.daemonID)
    return .rewritten(writer.bytes + arguments.dropFirst(4))
  }

  /// The daemon has answered such a call. Returns the result for the client, if it is another one, and the objects that
  /// have to be surveyed from now on.
  func answered(
    _ reply: PacketHeader, body: [UInt8]
  ) -> (result: [UInt8]?, survey: ObjectKind?) {
    guard
      let index = changes.firstIndex(where: {
        $0.serial == reply.serial && $0.program == reply.program
      })
    else { return (nil, nil) }
    let change = changes.remove(at: index).change
    guard reply.status == .ok else { return (nil, nil) }
    switch change {
    case .removes(_, let registration):
      if let registration { remove(registration) }
      return (nil, nil)
    case .addsUnknown:
      hasUnknown = true
      return (nil, nil)
    case .adds(var registration):
      var result: [UInt8]?
      if registration.family != .legacy {
        registration.daemonID = EventMemory.number(body)
        registration.clientID = freeID(registration.family, like: registration.daemonID)
        if registration.clientID != registration.daemonID {
          isMapped = true
          var writer = XDRWriter()
          writer.int32(registration.clientID)
          result = writer.bytes
        }
      }
      registrations.append(registration)
      guard let objects = registration.objects, states[objects] == nil else { return (result, nil) }
      // A list that was requested for earlier registrations may still come.
      states[objects] = ObjectStates(objects)
      states[objects]?.isAwaitingSurvey = true
      return (result, objects)
    }
  }

  private static func number(_ body: [UInt8]) -> Int32 {
    body.withUnsafeBytes { bytes in
      var reader = XDRReader(bytes)
      return (try? reader.int32()) ?? -1
    }
  }

  /// An ID that the client does not use in the family: the daemon's own, if possible.
  private func freeID(_ family: EventFamily, like id: Int32) -> Int32 {
    let used = Set(registrations.filter { $0.family == family }.map(\.clientID))
    if !used.contains(id) { return id }
    return (0...Int32(used.count)).first { !used.contains($0) } ?? id
  }

  private func remove(_ registration: Registration) {
    registrations.removeAll { $0.isSame(as: registration) }
    for objects in ObjectKind.allCases
    where !registrations.contains(where: { $0.objects == objects }) {
      states[objects] = nil
    }
  }

  // MARK: Events

  /// An event of the daemon. Returns the packets for the client: none, it, or it with the client's callback ID.
  /// - Throws: too many events are held.
  func route(_ header: PacketHeader, _ packet: [UInt8]) throws(Violation) -> [[UInt8]] {
    guard !isHolding else {
      heldBytes += packet.count
      guard heldBytes <= EventMemory.mostHeld else {
        throw Violation(.tooManyEventsHeld, [EventMemory.mostHeld])
      }
      held.append(packet)
      return []
    }
    if let (objects, key, event) = lifeCycle(header, packet) {
      states[objects]?.note(event, of: key)
      noteArrival(header, packet, objects, key, event)
    }
    return mapped(header, packet).map { [$0] } ?? []
  }

  /// A daemon sends an event for one registration after the other. It can be lost between two of them.
  private func noteArrival(
    _ header: PacketHeader, _ packet: [UInt8], _ objects: ObjectKind, _ key: ObjectKey,
    _ event: LifeCycleEvent
  ) {
    let family = EventFamily.raising(header.program, header.procedure)
    let id = family == .legacy ? -1 : EventMemory.number(Array(packet.dropFirst(Limits.header)))
    func isIts(_ registration: Registration) -> Bool {
      registration.family == family && registration.daemonID == id
    }
    if owed?.objects == objects, owed?.key == key, owed?.event == event,
      let index = owed?.registrations.firstIndex(where: isIts)
    {
      owed?.registrations.remove(at: index)
    } else {
      owed = Owed(
        objects: objects, key: key, event: event,
        registrations: registrations.filter { reports($0, objects, key) && !isIts($0) })
    }
  }

  /// The packets of the event that the lost daemon has sent for some registrations only.
  private func takeOwed() -> [[UInt8]] {
    guard let owed else { return [] }
    self.owed = nil
    return owed.registrations.compactMap { registration in
      guard registrations.contains(where: { $0.isSame(as: registration) }) else { return nil }
      return packet(registration, owed.objects, owed.event)
    }
  }

  /// The event with the client's callback ID. Nil: the client has no such registration.
  private func mapped(_ header: PacketHeader, _ packet: [UInt8]) -> [UInt8]? {
    let family = EventFamily.raising(header.program, header.procedure)
    guard isMapped, family != .legacy, packet.count >= Limits.header + 4 else { return packet }
    let id = EventMemory.number(Array(packet[Limits.header..<Limits.header + 4]))
    guard
      let registration = registrations.first(where: { $0.family == family && $0.daemonID == id })
    else { return nil }
    var writer = XDRWriter()
    writer.int32(registration.clientID)
    return Array(packet[..<Limits.header]) + writer.bytes + packet[(Limits.header + 4)...]
  }

  /// What a life cycle event says. Nil: it is another event, or its objects are not followed.
  private func lifeCycle(
    _ header: PacketHeader, _ packet: [UInt8]
  ) -> (ObjectKind, ObjectKey, LifeCycleEvent)? {
    let family = EventFamily.raising(header.program, header.procedure)
    guard header.procedure == family.lifeCycle, let objects = family.objects,
      states[objects] != nil || surveys[objects] != nil, packet.count > Limits.header
    else { return nil }
    return packet.withUnsafeBytes { bytes in
      var reader = XDRReader(UnsafeRawBufferPointer(rebasing: bytes[Limits.header...]))
      if family != .legacy { guard (try? reader.int32()) != nil else { return nil } }
      guard let object = try? objects.read(&reader), let number = try? reader.int32(),
        let detail = try? reader.int32()
      else { return nil }
      return (
        objects, object.key,
        LifeCycleEvent(event: number, detail: detail, name: object.name, id: object.id)
      )
    }
  }

  // MARK: The survey

  /// The broker begins to request the lists of these objects; nil: those of a daemon that was lost.
  func beginSurvey(of objects: ObjectKind?) {
    if let objects { states[objects]?.isAwaitingSurvey = false } else { heldBefore = held.count }
  }

  /// Reads a list of the daemon's objects; nil: the daemon has refused it.
  func surveyed(_ objects: ObjectKind, _ list: [UInt8]?) {
    if isHolding {
      surveys[objects, default: ObjectStates(objects)].read(list)
    } else {
      states[objects]?.read(list)
    }
  }

  // MARK: A lost daemon

  /// The daemon is lost, or an attempt to reach it has failed. `wasOpen`: it had the client's calls, which have got
  /// their answers. Otherwise they are still to be sent.
  func daemonIsLost(wasOpen: Bool) {
    isHolding = true
    isMapped = isMapped || !registrations.isEmpty
    if wasOpen { changes = [] }
    held = []
    heldBytes = 0
    heldBefore = 0
    surveys = [:]
    for index in registrations.indices { registrations[index].daemonID = -1 }
  }

  /// The daemon, which is back, has confirmed this registration of a client's.
  func registeredAgain(_ registration: Registration, body: [UInt8]) {
    let index = registrations.firstIndex { $0.isSame(as: registration) }
    guard registration.family != .legacy, let index else { return }
    registrations[index].daemonID = EventMemory.number(body)
  }

  /// The packets that tell the client what it has missed, among and behind the events that were held. Nil: what it has
  /// missed is not known, and `mayMiss` is false.
  func resume(mayMiss: Bool) -> [[UInt8]]? {
    isHolding = false
    defer {
      held = []
      heldBytes = 0
      surveys = [:]
    }
    let before = held[..<heldBefore].map(read)
    let during = held[heldBefore...].map(read)
    var missed: [[UInt8]] = []
    var behind: [[UInt8]] = []
    for objects in ObjectKind.allCases {
      guard let old = states[objects] else { continue }
      let survey = surveys[objects] ?? ObjectStates(objects)
      let gap = old.gap(
        to: survey, before: before.events(of: objects), during: during.events(of: objects))
      guard gap != nil || mayMiss else { return nil }
      for (key, event) in gap?.first ?? [] { missed += packets(objects, key, event) }
      for (key, event) in gap?.then ?? [] { behind += packets(objects, key, event) }
      states[objects]?.adopt(survey, during.events(of: objects))
    }
    return takeOwed() + missed + before.flatMap(packets) + behind + during.flatMap(packets)
  }

  /// A held event: its packet, and what it says if it is the first that says so.
  fileprivate struct Held {
    let packet: [UInt8]
    let header: PacketHeader
    let lifeCycle: (objects: ObjectKind, key: ObjectKey, event: LifeCycleEvent)?
    let isFirst: Bool
  }

  private func read(_ packet: [UInt8]) -> Held {
    let header = EventMemory.header(packet)
    let lifeCycle = lifeCycle(header, packet)
    let isFirst = lifeCycle.map { self.isFirst(header, packet, $0.0, $0.1) } ?? false
    return Held(packet: packet, header: header, lifeCycle: lifeCycle, isFirst: isFirst)
  }

  /// A held event for the client. Each registration gets a life cycle event, even if it was made too late for it.
  private func packets(_ held: Held) -> [[UInt8]] {
    guard let (objects, key, event) = held.lifeCycle else {
      return mapped(held.header, held.packet).map { [$0] } ?? []
    }
    return held.isFirst ? packets(objects, key, event) : []
  }

  /// Whether an event came for the first of the registrations that report it. They were made one after the other, so
  /// that the later ones may have missed some; the first has seen all.
  private func isFirst(
    _ header: PacketHeader, _ packet: [UInt8], _ objects: ObjectKind, _ key: ObjectKey
  ) -> Bool {
    let first = registrations.first { reports($0, objects, key) }
    guard let first, first.family == EventFamily.raising(header.program, header.procedure) else {
      return false
    }
    return first.family == .legacy
      || first.daemonID == EventMemory.number(Array(packet.dropFirst(Limits.header)))
  }

  private func reports(
    _ registration: Registration, _ objects: ObjectKind, _ key: ObjectKey
  ) -> Bool {
    registration.objects == objects && registration.object.map { $0 == key } ?? true
  }

  private static func header(_ packet: [UInt8]) -> PacketHeader {
    packet.withUnsafeBytes { bytes in
      guard bytes.count >= Limits.header, let base = bytes.baseAddress else {
        return PacketHeader(procedure: 0, kind: .message, serial: 0)
      }
      return PacketHeader(at: base)
    }
  }

  /// An event for each registration that reports it.
  private func packets(
    _ objects: ObjectKind, _ key: ObjectKey, _ event: LifeCycleEvent
  ) -> [[UInt8]] {
    registrations.filter { reports($0, objects, key) }.map { packet($0, objects, event) }
  }

  private func packet(
    _ registration: Registration, _ objects: ObjectKind, _ event: LifeCycleEvent
  ) -> [UInt8] {
    var writer = XDRWriter()
    if registration.family != .legacy { writer.int32(registration.clientID) }
    writer.append(event.name)
    if objects == .domain { writer.int32(event.id) }
    writer.int32(event.event)
    writer.int32(event.detail)
    return Packets.make(
      PacketHeader(procedure: registration.family.lifeCycle, kind: .message, serial: 1),
      arguments: writer.bytes)
  }
}

extension [EventMemory.Held] {
  /// The events of one kind's objects.
  fileprivate func events(of objects: ObjectKind) -> [ObjectKey: [LifeCycleEvent]] {
    var events: [ObjectKey: [LifeCycleEvent]] = [:]
    for held in self where held.isFirst {
      guard let (kind, key, event) = held.lifeCycle, kind == objects else { continue }
      events[key, default: []].append(event)
    }
    return events
  }
}
