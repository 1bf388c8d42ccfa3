// The loads that show how the cost grows with the number of clients.
import ArgumentParser
import Ends
import Foundation
import Gauges
import Testing

@testable import virtbench

@Suite("Many clients")
struct ScaleTests {
  /// A synthetic daemon in this process. It ends with its owner.
  private final class Daemon {
    let place: Place
    private let path: String
    private let endpoint: Endpoint
    init() throws {
      path = NSTemporaryDirectory() + "virtbench-test.\(UUID().uuidString.prefix(8)).sock"
      let endpoint = try Endpoint(path: path)
      self.endpoint = endpoint
      place = .unix(path: path)
      try detach { endpoint.run() }
    }
    deinit { endpoint.stop() }
    /// The measured process is this one, since no relay is in between.
    var subject: Subject { Subject(peer: "mine", place: place, process: getpid()) }
  }

  @Test("streams on several connections have a rate, a cost and the relay's memory")
  func crowd() throws {
    let daemon = try Daemon()
    for kind in [TransferKind.download, .upload] {
      let load = CrowdLoad(kind: kind, connections: 3, seconds: 0.1)
      let figures = try load.measure(daemon.subject)
      #expect(figures.count == load.metrics.count)
      #expect(figures.values.allSatisfy { $0 > 0 })
      // A test program is larger than this and smaller than that.
      #expect((1...10_000).contains(figures[.memory] ?? 0))
    }
  }

  @Test("connections are opened at the rate that was asked for, and no faster")
  func opening() throws {
    let daemon = try Daemon()
    let run = OpeningRun(perSecond: 200, seconds: 0.5, atOnce: 4)
    let figure = try run.measure(daemon.place, process: getpid())
    #expect(figure.opening.count <= 100 && figure.opening.count > 0)
    #expect(figure.perSecond <= 200)
    #expect(figure.opening.p50 > 0 && figure.opening.p99 >= figure.opening.p50)
    #expect((figure.cpuPerOpening ?? 0) > 0)
  }

  @Test("no more connections than asked for are opened when they cannot be opened in time")
  func overload() throws {
    let daemon = try Daemon()
    let start = now()
    let run = OpeningRun(perSecond: 100_000, seconds: 0.2, atOnce: 2)
    let figure = try run.measure(daemon.place, process: nil)
    #expect(figure.perSecond < 100_000, "it says what was reached")
    #expect(figure.opening.max > 1000, "the time counts from when a connection was due")
    #expect(Double(now() - start) / 1e9 < 10, "and it ends when its time is over")
  }

  @Test("events have a rate of delivery, a delay and a cost")
  func events() throws {
    let daemon = try Daemon()
    let figures = try EventsLoad(listeners: 2, perSecond: 500, seconds: 0.3).measure(daemon.subject)
    #expect((500...1100).contains(figures[.delivered] ?? 0))
    #expect((figures[.delayP99] ?? 0) > 0 && (figures[.eventCPU] ?? 0) > 0)
  }

  @Test("idle connections are measured without calls beside them, and closed afterwards")
  func idle() throws {
    let daemon = try Daemon()
    let load = ConnectionsLoad(name: "idle", count: 20, callSeconds: nil, isExtra: true)
    let figures = try load.measure(daemon.subject)
    #expect(Set(figures.keys) == Set(load.metrics))
  }

  @Test("what takes long is measured only if it is named")
  func extras() throws {
    func names(_ arguments: [String]) throws -> [String] {
      let command = try #require(try CompareCommand.parse(arguments) as CompareCommand?)
      return Loads.names(try command.measurements())
    }
    let routine = try names([])
    for name in ["download-connections", "upload-connections", "opening", "idle", "events"] {
      #expect(!routine.contains(name))
      #expect(try names(["--measure", name]) == [name])
      #expect(try names(["--measure", "all"]).contains(name))
    }
    #expect(routine.contains("download") && routine.contains("console"))
  }

  @Test("a load is measured on the peers that it is for, and on every peer of the user")
  func peers() {
    let load = CrowdLoad(kind: .upload, connections: 4, seconds: 1)
    let subjects = ["virtbrokerd", "haproxy", "socat", "mine"].map {
      Subject(peer: $0, place: .unix(path: "/nowhere"))
    }
    let comparison = Comparison(
      measurements: [load], subjects: [.synthetic: subjects], rounds: 1, budget: nil, beginning: 0,
      note: { _ in })
    #expect(comparison.plan(1).map(\.subject.peer) == ["virtbrokerd", "haproxy", "mine"])
  }

  @Test("no two loads have the same title, because results are recorded by title")
  func titles() {
    let titles = Loads.all(Amounts(streamBytes: 1, callSeconds: 1, clientBytes: 1)).map(\.title)
    #expect(Set(titles).count == titles.count)
  }
}
