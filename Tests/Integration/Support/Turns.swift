// Limits the integration tests that run concurrently: they start guests and move gigabytes, and the machine may be
// small.
import Foundation
import Testing

/// Makes the test cases of a suite wait until only a few are running, so that the time limit of a test is not used up
/// by other tests' guests.
struct InTurn: SuiteTrait, TestTrait, TestScoping {
  /// Whether the test cases go before those of other suites.
  let isPreferred: Bool
  var isRecursive: Bool { true }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    await Turns.all.take(isPreferred: isPreferred)
    do {
      try await function()
      await Turns.all.give()
    } catch {
      await Turns.all.give()
      throw error
    }
  }
}

extension Trait where Self == InTurn {
  static var inTurn: Self { InTurn(isPreferred: false) }

  /// For long suites whose test cases run one after another: if each waited for all other suites, they would still run
  /// when everything else has ended.
  static var inTurnFirst: Self { InTurn(isPreferred: true) }
}

private actor Turns {
  static let all = Turns()
  private var free = 3 * ProcessInfo.processInfo.activeProcessorCount
  private var preferred: [CheckedContinuation<Void, Never>] = []
  private var others: [CheckedContinuation<Void, Never>] = []

  func take(isPreferred: Bool) async {
    if free > 0 {
      free -= 1
    } else {
      await withCheckedContinuation {
        if isPreferred { preferred.append($0) } else { others.append($0) }
      }
    }
  }

  func give() {
    if !preferred.isEmpty {
      preferred.removeFirst().resume()
    } else if !others.isEmpty {
      others.removeFirst().resume()
    } else {
      free += 1
    }
  }
}
