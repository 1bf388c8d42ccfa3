// What a relay records for metrics and audit.

/// Counters, stopwatches, and the observer's choices. Owned by the relay. It has no influence on routing.
struct RelayAccounts {
  var counters = Counters()
  var pauses = PauseStopwatches()
  /// The objects of the streams under way, by the keys of their calls.
  var objects: [UInt64: StreamObject] = [:]
  let answerCounts: AnswerCounts?
  /// One bit for each `Access` whose answers the observer wants.
  private let reportedAccesses: UInt8

  init(for observer: some RelayObserver) {
    answerCounts = observer.answerCounts
    reportedAccesses = Access.allCases.reduce(0) { bits, access in
      observer.wantsAnswers(to: access) ? bits | access.bit : bits
    }
  }

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try counters.code(&coder)
    try pauses.code(&coder)
    var known = objects.map { $0 }.sorted { $0.key < $1.key }
    try coder.code(&known, initially: (key: 0, value: .domain(""))) {
      (object, coder) throws(Violation) in
      try coder.code(&object.key)
      try object.value.code(&coder)
    }
    if coder.isReading { objects = Dictionary(known) { first, _ in first } }
  }

  func reportsAnswers(to access: Access) -> Bool { reportedAccesses & access.bit != 0 }
}
