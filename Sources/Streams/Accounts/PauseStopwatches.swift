// Stopwatches of how long the sources of one client were paused.

/// A stopwatch for each cause of a pause.
struct PauseStopwatches {
  private var client = Stopwatch()
  private var backend = Stopwatch()
  private var limit = Stopwatch()

  /// A cause held when the stopwatches were last updated.
  var isAnyOn: Bool { client.isOn || backend.isOn || limit.isOn }

  mutating func note(_ cause: PauseCause, _ isOn: Bool, at now: Double) {
    switch cause {
    case .client: client.note(isOn, at: now)
    case .backend: backend.note(isOn, at: now)
    case .limit: limit.note(isOn, at: now)
    }
  }

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try client.code(&coder)
    try backend.code(&coder)
    try limit.code(&coder)
  }

  func seconds(by cause: PauseCause, at now: Double) -> Double {
    switch cause {
    case .client: client.seconds(at: now)
    case .backend: backend.seconds(at: now)
    case .limit: limit.seconds(at: now)
    }
  }
}

/// Total seconds for which a condition has held.
struct Stopwatch {
  private var total = 0.0
  private var since: Double?

  mutating func note(_ isOn: Bool, at now: Double) {
    if isOn {
      since = since ?? now
    } else if let began = since {
      total += max(0, now - began)
      since = nil
    }
  }

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&total)
    try coder.code(&since, initially: 0) { (time, coder) throws(Violation) in try coder.code(&time)
    }
  }

  var isOn: Bool { since != nil }

  func seconds(at now: Double) -> Double { total + (since.map { max(0, now - $0) } ?? 0) }
}
