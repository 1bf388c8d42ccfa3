// How long the sources of one client were not read.

/// A stopwatch for each cause of a pause.
struct PauseStopwatches {
  private var client = Stopwatch()
  private var backend = Stopwatch()
  private var limit = Stopwatch()

  /// Some cause held when it was noted last.
  var isAnyOn: Bool { client.isOn || backend.isOn || limit.isOn }

  mutating func note(_ cause: PauseCause, _ isOn: Bool, at now: Double) {
    switch cause {
    case .client: client.note(isOn, at: now)
    case .backend: backend.note(isOn, at: now)
    case .limit: limit.note(isOn, at: now)
    }
  }

  func seconds(by cause: PauseCause, at now: Double) -> Double {
    switch cause {
    case .client: client.seconds(at: now)
    case .backend: backend.seconds(at: now)
    case .limit: limit.seconds(at: now)
    }
  }
}

/// For how many seconds a condition has held, in total.
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

  var isOn: Bool { since != nil }

  func seconds(at now: Double) -> Double { total + (since.map { max(0, now - $0) } ?? 0) }
}
