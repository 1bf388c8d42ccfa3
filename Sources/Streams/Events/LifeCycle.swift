// What life cycle events say about the state of their objects, and which events lead from one state to another.

/// The numbers of a kind's events, by what they say. Those that a kind does not have are -1.
private struct EventNumbers {
  var defined: Int32 = -1
  var undefined: Int32 = -1
  var started: Int32 = -1
  var stopped: Int32 = -1
  var suspended: Int32 = -1
  var resumed: Int32 = -1
  /// A domain shuts down, goes to sleep, has crashed.
  var others: [Int32] = []
}

extension ObjectKind {
  private var numbers: EventNumbers {
    switch self {
    case .domain:
      EventNumbers(
        defined: 0, undefined: 1, started: 2, stopped: 5, suspended: 3, resumed: 4,
        others: [6, 7, 8])
    case .network, .storagePool: EventNumbers(defined: 0, undefined: 1, started: 2, stopped: 3)
    case .nodeDevice: EventNumbers(defined: 2, undefined: 3, started: 0, stopped: 1)
    case .secret: EventNumbers(defined: 0, undefined: 1)
    }
  }

  /// The state after an event; nil: the object does not exist.
  func state(after event: LifeCycleEvent, _ before: ObjectState?) -> ObjectState? {
    let numbers = numbers
    var state = before ?? ObjectState(name: event.name)
    state.name = event.name
    switch event.event {
    case numbers.defined: state.flags.insert(.persistent)
    case numbers.undefined: state.flags.remove(.persistent)
    case numbers.started:
      state.flags.insert(.active)
      state.flags.subtract([.paused, .other])
      state.id = event.id
    case numbers.stopped:
      state.flags.subtract([.active, .paused, .other])
      state.id = -1
    case numbers.suspended: state.flags.insert(.paused)
    case numbers.resumed: state.flags.subtract([.paused, .other])
    case let number where numbers.others.contains(number): state.flags.insert(.other)
    default: return before
    }
    return state.orNil
  }

  /// The state of an object before these events of it, which came while the daemon was surveyed: what the events do not
  /// touch is as surveyed. `known` is the last state before the survey, for what remains open.
  func state(
    before events: [LifeCycleEvent], surveyed: ObjectState?, known: ObjectState?
  ) -> ObjectState? {
    guard let first = events.first else { return surveyed }
    let numbers = numbers
    var state = surveyed ?? ObjectState(name: first.name)
    state.name = first.name
    if let event = events.first(where: { [numbers.defined, numbers.undefined].contains($0.event) })
    {
      // Only a domain's event tells whether the definition is new.
      let wasKnown = known?.flags.contains(.persistent) ?? false
      let isNew = self == .domain ? [0, 2].contains(event.detail) : !wasKnown
      state.set(.persistent, event.event == numbers.undefined || !isNew)
    }
    var isActive: Bool?
    for (index, event) in events.enumerated() where isActive == nil {
      switch event.event {
      case numbers.started: isActive = false
      // A guest that starts is reported as resumed, and then as started.
      case numbers.resumed where event.startsNow(in: events[index...], numbers.started):
        isActive = false
      case numbers.stopped, numbers.suspended, numbers.resumed: isActive = true
      case let number where numbers.others.contains(number): isActive = true
      default: if self == .domain { isActive = event.id >= 0 }
      }
    }
    guard let isActive else { return state.orNil }
    state.set(.active, isActive)
    guard isActive else {
      state.flags.subtract([.paused, .other])
      state.id = -1
      return state.orNil
    }
    let ran = known?.flags.contains(.active) ?? false
    let run = events.prefix { $0.event != numbers.started && $0.event != numbers.stopped }
    state.id = run.first { $0.id >= 0 }?.id ?? (ran ? known?.id ?? -1 : state.id)
    let changes = [numbers.suspended, numbers.resumed] + numbers.others
    guard let change = run.first(where: { changes.contains($0.event) }) else {
      guard run.count < events.count else { return state.orNil }
      // It stopped, and nothing tells whether it was paused.
      let flags = ran ? known?.flags.intersection([.paused, .other]) ?? [] : []
      state.flags = state.flags.subtracting([.paused, .other]).union(flags)
      return state.orNil
    }
    let wasOther = known?.flags.contains(.other) ?? false
    state.set(.paused, change.event == numbers.resumed && !wasOther)
    state.set(.other, change.event == numbers.resumed && wasOther)
    return state.orNil
  }

  /// The events that a live daemon would have sent on the way from one state to another. Nil: they are not known.
  func events(from old: ObjectState?, to new: ObjectState?) -> [LifeCycleEvent]? {
    guard old != new else { return [] }
    let numbers = numbers
    var events: [LifeCycleEvent] = []
    var state = old ?? ObjectState(name: new?.name ?? [])
    let target = new ?? ObjectState(name: state.name)
    func add(_ number: Int32, detail: Int32 = 0, _ name: [UInt8]? = nil, id: Int32 = -1) {
      events.append(
        LifeCycleEvent(event: number, detail: detail, name: name ?? state.name, id: id))
    }
    let runsOn =
      state.flags.contains(.active) && target.flags.contains(.active) && state.id == target.id
    if state.flags.contains(.active), !runsOn {
      // Why it stopped is not known: as if it had shut down.
      add(numbers.stopped)
      state.flags.subtract([.active, .paused, .other])
    }
    if state.name != target.name, old != nil {
      // Renamed, which only a domain that does not run can be.
      guard self == .domain, state.flags == [.persistent] else {
        if state.flags.contains(.persistent) { add(numbers.undefined) }
        guard !runsOn else { return nil }
        return events + (self.events(from: nil, to: new) ?? [])
      }
      add(numbers.undefined, detail: 1)
      add(numbers.defined, detail: 2, target.name)
      state.name = target.name
    }
    if target.flags.contains(.persistent), !state.flags.contains(.persistent) {
      add(numbers.defined)
    }
    if target.flags.contains(.active), !runsOn { add(numbers.started, id: target.id) }
    let (wasPaused, isPaused) = (state.flags.contains(.paused), target.flags.contains(.paused))
    if isPaused, !wasPaused { add(numbers.suspended, id: target.id) }
    if wasPaused, !isPaused, runsOn { add(numbers.resumed, id: target.id) }
    let (wasOther, isOther) = (state.flags.contains(.other), target.flags.contains(.other))
    if isOther, !wasOther { return nil }
    if wasOther, !isOther, runsOn, !wasPaused { add(numbers.resumed, id: target.id) }
    if state.flags.contains(.persistent), !target.flags.contains(.persistent) {
      add(numbers.undefined, id: target.id)
    }
    return events
  }
}

extension LifeCycleEvent {
  /// The next event of this run of a guest says that it has started.
  fileprivate func startsNow(in events: ArraySlice<LifeCycleEvent>, _ started: Int32) -> Bool {
    guard let next = events.dropFirst().first else { return false }
    return next.event == started && next.id == id
  }
}

extension ObjectState {
  fileprivate mutating func set(_ flag: Flags, _ isSet: Bool) {
    if isSet { flags.insert(flag) } else { flags.remove(flag) }
  }

  /// Nil: an object in this state does not exist.
  fileprivate var orNil: ObjectState? {
    flags.isDisjoint(with: [.active, .persistent]) ? nil : self
  }
}
