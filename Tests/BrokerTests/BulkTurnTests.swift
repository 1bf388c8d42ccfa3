// Turns of handlers that move bulk data, beside others.
import Glibc
import Testing

@testable import Broker
@testable import Streams

@Suite("Turns beside bulk data")
struct BulkTurnTests {
  /// A handler whose descriptor always has something to read.
  private final class Busy: Handler {
    let name: String
    let history: History
    private let ends: (Int32, Int32)
    private var watcher: DescriptorWatcher
    /// How long its turn takes, in seconds.
    private let seconds: Double

    init(
      _ name: String, _ history: History, on reactor: Reactor, bytes: UInt64, seconds: Double = 0
    ) throws {
      self.name = name
      self.history = history
      self.seconds = seconds
      ends = try socketPair()
      watcher = DescriptorWatcher(ends.0, on: reactor)
      super.init()
      watcher.belong(to: self)
      _ = write(ends.1, "x", 1)
      noteMoved(bytes)
      watcher.watch(.read)
    }

    deinit {
      close(ends.0)
      close(ends.1)
    }

    func stop() { watcher.watch([]) }

    override func ready(_ ready: Interest) {
      history.note(name)
      let end = Clock.monotonic.seconds + seconds
      while Clock.monotonic.seconds < end {}
    }
  }

  /// The names of the handlers in the order of their turns. It stops the loop after some.
  private final class History {
    private(set) var names: [String] = []
    private let reactor: Reactor
    private let most: Int
    var then: (String) -> Void = { _ in }

    init(_ most: Int, stopping reactor: Reactor) {
      self.most = most
      self.reactor = reactor
    }

    func note(_ name: String) {
      names.append(name)
      then(name)
      if names.count == most { reactor.stop() }
    }
  }

  @Test("between two long turns of bulk data everyone else has one, and bulk data takes turns")
  func rotation() throws {
    let reactor = try Reactor()
    let history = History(60, stopping: reactor)
    let bulk = try ["a", "b", "c"].map {
      try Busy($0, history, on: reactor, bytes: 1 << 20, seconds: 0.001)
    }
    let quiet = try Busy("-", history, on: reactor, bytes: 10)
    // One large turn counts for eight; the handlers keep it up.
    history.then = { name in bulk.first { $0.name == name }?.noteMoved(1 << 20) }
    reactor.run()
    let text = history.names.joined()
    for pair in ["aa", "ab", "ac", "ba", "bb", "bc", "ca", "cb", "cc"] {
      #expect(!text.contains(pair), "\(text)")
    }
    let turns = text.filter { $0 != "-" }
    #expect(turns.count >= 15)
    let rounds = ["abc", "cba"].map { String(repeating: $0, count: 30) }
    #expect(rounds.contains { $0.contains(turns) }, "\(text)")
    withExtendedLifetime(quiet) {}
  }

  @Test("a handler that is stopped before its turn gets none")
  func stopped() throws {
    let reactor = try Reactor()
    let history = History(20, stopping: reactor)
    // libev calls the handler of the last descriptor first.
    let quiet = try Busy("-", history, on: reactor, bytes: 10)
    let bulk = try Busy("a", history, on: reactor, bytes: 1 << 20)
    history.then = { name in if name == "-" { bulk.stop() } }
    reactor.run()
    #expect(!history.names.contains("a"))
    withExtendedLifetime(quiet) {}
  }

  @Test("a handler that moves little again no longer waits for others")
  func recovers() throws {
    let reactor = try Reactor()
    let history = History(40, stopping: reactor)
    // libev calls the handler of the last descriptor first.
    let quiet = try Busy("-", history, on: reactor, bytes: 10)
    let first = try Busy("a", history, on: reactor, bytes: 1 << 20)
    history.then = { name in if name == "a" { first.noteMoved(10) } }
    reactor.run()
    #expect(history.names.prefix(2) == ["-", "a"])
    let text = history.names.joined()
    // After eight small turns it is called in libev's order again: two polls follow each other with "-a" and "a-".
    #expect(text.contains("-aa-"), "\(text)")
    withExtendedLifetime(quiet) {}
  }
}
