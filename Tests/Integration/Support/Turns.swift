// Limits the integration tests that run concurrently: they start guests and move gigabytes, and the machine may be
// small.
import Foundation
import Testing

/// Makes the test cases of a suite wait until only a few are running, so that the time limit of a test is not used up
/// by other tests' guests.
struct InTurn: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    await Turns.all.take()
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
  static var inTurn: Self { InTurn() }
}

private actor Turns {
  static let all = Turns()
  private var free = 2 * ProcessInfo.processInfo.activeProcessorCount
  private var waiting: [CheckedContinuation<Void, Never>] = []

  func take() async {
    if free > 0 {
      free -= 1
    } else {
      await withCheckedContinuation { waiting.append($0) }
    }
  }

  func give() {
    if waiting.isEmpty {
      free += 1
    } else {
      waiting.removeFirst().resume()
    }
  }
}
