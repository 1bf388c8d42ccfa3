// The states of all objects of a kind, as one client sees them.

/// Follows the states of the objects of a kind from a survey on: the daemon's lists, and the events beside and behind
/// them.
struct ObjectStates: Sendable {
  /// The most objects that are followed. A client with more is not kept when its daemon is lost.
  static let most = 4096
  /// The most bytes of an encoded name. A secret's has a path.
  private static let longestName = 4608

  let kind: ObjectKind
  private(set) var objects: [ObjectKey: ObjectState] = [:]
  /// The number of listings that have been read.
  private var listed = 0
  /// Events that came during the survey. They are as new as the lists, or newer.
  private var meanwhile: [ObjectKey: [LifeCycleEvent]] = [:]
  private var meanwhileCount = 0
  private var hasFailed = false
  /// No list has been requested yet. One that comes is for others.
  var isAwaitingSurvey = false

  init(_ kind: ObjectKind) { self.kind = kind }

  /// The states of all objects are known.
  var isWhole: Bool { !hasFailed && listed == kind.listings.count }

  /// Reads the next list of a survey; nil: the daemon has refused it. A list that cannot be decoded, or is too long, ends
  /// the following.
  mutating func read(_ list: [UInt8]?) {
    guard !hasFailed, !isAwaitingSurvey, listed < kind.listings.count else { return }
    let tells = kind.listings[listed].tells
    listed += 1
    guard let list, let found = decoded(list) else {
      // Daemons from before 7.3 have active node devices only.
      guard kind == .nodeDevice, tells == .active, list == nil else { return fail() }
      for key in objects.keys { objects[key]?.flags = .active }
      return complete()
    }
    for (key, name, id) in found {
      if let tells {
        objects[key]?.flags.insert(tells)
      } else {
        objects[key] = ObjectState(name: name, id: id, flags: initial(id))
      }
    }
    if isWhole { complete() }
  }

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&listed, in: 0...kind.listings.count)
    try coder.code(&hasFailed)
    try coder.code(&isAwaitingSurvey)
    var states = objects.map { $0 }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    try coder.code(&states, initially: (key: [], value: ObjectState(name: []))) {
      (state, coder) throws(Violation) in
      try coder.code(&state.key)
      try state.value.code(&coder)
    }
    var events = meanwhile.map { $0 }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    try coder.code(&events, initially: (key: [], value: [])) { (events, coder) throws(Violation) in
      try coder.code(&events.key)
      try coder.code(&events.value, initially: LifeCycleEvent(event: 0, name: [])) {
        (event, coder) throws(Violation) in try event.code(&coder)
      }
    }
    guard coder.isReading else { return }
    objects = Dictionary(states) { first, _ in first }
    meanwhile = Dictionary(events) { first, _ in first }
    meanwhileCount = meanwhile.values.reduce(0) { $0 + $1.count }
  }

  private mutating func complete() {
    // What has started between two lists is paused in the later one. Its events are still to come.
    for key in objects.keys where objects[key]?.flags.contains(.active) == false {
      objects[key]?.flags.subtract([.paused, .other])
    }
    // A node device that does not run is defined. Anything else in neither state has just been removed.
    for (key, state) in objects where state.flags.isDisjoint(with: [.active, .persistent]) {
      objects[key] = kind == .nodeDevice ? ObjectState(name: state.name, flags: .persistent) : nil
    }
    for (key, events) in meanwhile {
      let before = kind.state(before: events, surveyed: objects[key], known: nil)
      objects[key] = events.reduce(before) { kind.state(after: $1, $0) }
    }
    meanwhile = [:]
  }

  private func initial(_ id: Int32) -> ObjectState.Flags {
    switch kind {
    case .domain: id >= 0 ? .active : []
    case .secret: .persistent
    case .network, .storagePool, .nodeDevice: []
    }
  }

  private func decoded(_ list: [UInt8]) -> [(key: ObjectKey, name: [UInt8], id: Int32)]? {
    list.withUnsafeBytes { bytes in
      var reader = XDRReader(bytes)
      let objects = try? reader.array(limit: ObjectStates.most) { reader throws(Violation) in
        try kind.read(&reader)
      }
      guard let objects, objects.allSatisfy({ $0.name.count <= ObjectStates.longestName }) else {
        return nil
      }
      return objects
    }
  }

  private mutating func fail() {
    hasFailed = true
    objects = [:]
    meanwhile = [:]
  }

  /// The daemon has sent a life cycle event.
  mutating func note(_ event: LifeCycleEvent, of key: ObjectKey) {
    guard !hasFailed else { return }
    guard event.name.count <= ObjectStates.longestName else { return fail() }
    guard isWhole else {
      // A daemon that sends events and no lists does not fill the memory.
      meanwhileCount += 1
      guard meanwhileCount <= ObjectStates.most else { return fail() }
      return meanwhile[key, default: []].append(event)
    }
    objects[key] = kind.state(after: event, objects[key])
    if objects.count > ObjectStates.most { fail() }
  }

  typealias Events = [(key: ObjectKey, event: LifeCycleEvent)]

  /// The events that lead from these states to those of a later survey: first those before all that came since, and then
  /// those behind what came before the survey. Nil: what happened is not known.
  ///
  /// - Parameters:
  ///   - before: events that came before the survey, which has seen what they tell of.
  ///   - during: events that came during the survey, which may have seen it or not.
  func gap(
    to survey: ObjectStates, before: [ObjectKey: [LifeCycleEvent]],
    during: [ObjectKey: [LifeCycleEvent]]
  ) -> (first: Events, then: Events)? {
    guard isWhole, survey.isWhole else { return nil }
    var first: [(isGone: Bool, Events)] = []
    var then: [(isGone: Bool, Events)] = []
    let keys = Set(objects.keys).union(survey.objects.keys).union(before.keys).union(during.keys)
    // The order does not depend on hashing.
    for key in keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      let old = objects[key]
      let surveyed = kind.state(
        before: during[key] ?? [], surveyed: survey.objects[key], known: old)
      let events = before[key] ?? []
      let start = kind.state(before: events, surveyed: surveyed, known: old)
      let end = events.reduce(start) { kind.state(after: $1, $0) }
      guard let missed = kind.events(from: old, to: start),
        let unreported = kind.events(from: end, to: surveyed)
      else { return nil }
      first.append((start == nil, missed.map { (key, $0) }))
      then.append((surveyed == nil, unreported.map { (key, $0) }))
    }
    return (ObjectStates.joined(first), ObjectStates.joined(then))
  }

  /// What is gone goes first: its name may be that of another object by now.
  private static func joined(_ events: [(isGone: Bool, Events)]) -> Events {
    events.filter(\.isGone).flatMap { $0.1 } + events.filter { !$0.isGone }.flatMap { $0.1 }
  }

  /// The states behind such a survey and these events.
  mutating func adopt(_ later: ObjectStates, _ held: [ObjectKey: [LifeCycleEvent]]) {
    let old = objects
    self = later
    guard isWhole else { return }
    for (key, events) in held {
      let before = kind.state(before: events, surveyed: objects[key], known: old[key])
      objects[key] = events.reduce(before) { kind.state(after: $1, $0) }
    }
  }
}
