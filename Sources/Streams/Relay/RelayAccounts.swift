// What a relay records for metrics and audit.

/// Counters, stopwatches, and what the observer wants. Owned by the relay; nothing in it decides where a packet goes.
struct RelayAccounts {
  var counters = Counters()
  var pauses = PauseStopwatches()
  /// What the streams under way belong to, by the keys of their calls.
  var objects: [UInt64: StreamObject] = [:]
  let answerCounts: AnswerCounts?
  /// A bit for each kind of access whose answers the observer wants.
  private let reportedAccesses: UInt8

  init(for observer: some RelayObserver) {
    answerCounts = observer.answerCounts
    reportedAccesses = Access.allCases.reduce(0) { bits, access in
      observer.wantsAnswers(to: access) ? bits | access.bit : bits
    }
  }

  func reportsAnswers(to access: Access) -> Bool { reportedAccesses & access.bit != 0 }
}
