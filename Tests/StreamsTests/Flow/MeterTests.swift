// Rate limits: exact, fair, and without effect on other traffic.
import Testing

@testable import Streams

@Suite("rates")
struct MeterTests {
  /// Advances the relay's clock to `end`. Calls `settle` only when the relay asked for it.
  private static func run(_ harness: RelayHarness, until end: Double, _ feed: () -> Void) {
    while harness.relay.now < end {
      feed()
      guard let next = harness.relay.nextMeteredTime else {
        harness.relay.now += 0.001
        continue
      }
      // A real loop is always a little late.
      harness.relay.now = max(harness.relay.now, next) + 0.0007
      harness.relay.settle()
    }
  }

  private static func harness(_ rate: Int, _ kind: StreamKind, _ procedure: Int32) -> RelayHarness {
    let harness = RelayHarness()
    harness.meters[kind] = [Meter(rate: rate)]
    harness.relay.now = 100
    harness.fromClient(call(1, procedure, []))
    harness.fromBackend(0, reply(1, procedure))
    _ = harness.toBackend()
    _ = harness.toClient()
    return harness
  }

  @Test(
    "an upload moves at its rate within 3 %, whatever the sizes of its packets",
    arguments: [100_000, 10_000_000, 1_000_000_000], [172, 65_508, 262_120])
  func upload(rate: Int, payload: Int) {
    let upload = Remote.storageVolUpload
    let harness = Self.harness(rate, .upload, upload)
    let packet = stream(1, upload, .continue, [UInt8](repeating: 1, count: payload))
    let seconds = max(5, 100 * Double(packet.count) / Double(rate))
    var bytes = 0
    Self.run(harness, until: 100 + min(seconds, 3e7 / Double(rate))) {
      while harness.relay.clientInterest.contains(.read) { harness.fromClient(packet) }
      bytes += harness.backends[0].takeBytes().count
    }
    bytes += harness.backends[0].takeBytes().count
    let expected = Double(rate) * (harness.relay.now - 100)
    #expect(abs(Double(bytes) / expected - 1) < 0.03, "\(bytes) bytes, not \(expected)")
    if rate < 100_000_000 {
      #expect(harness.relay.pause(of: harness.relay.callsUnderWay[0]) == .limit)
    }
    #expect(harness.relay.waitingForUpstreams <= 2 * (Watermarks().high + packet.count))
  }

  @Test("calls, consoles and replies overtake a download that waits for its rate")
  func passes() throws {
    let (download, console) = (Remote.storageVolDownload, Remote.domainOpenConsole)
    let harness = Self.harness(1000, .download, download)
    let packet = stream(1, download, .continue, [UInt8](repeating: 1, count: 9972))
    for _ in 0..<10 { harness.fromBackend(0, packet) }
    #expect(harness.toClient().count == 1, "the first goes at once, the others wait")
    harness.fromClient(call(2), call(3, console, []))
    #expect(harness.toBackend().map(\.serial) == [2, 3])
    harness.fromBackend(0, reply(2), reply(3, console), stream(3, console, .continue, [65]))
    #expect(harness.toClient().map(\.serial) == [2, 3, 3])
    harness.fromClient(stream(3, console, .continue, [66]))
    #expect(harness.toBackend().map(\.payload) == [[66]])
    harness.relay.now += 10.1
    harness.relay.settle()
    #expect(harness.toClient().map(\.serial) == [1])
  }

  @Test("calls overtake an upload on the same connection as far as the read-ahead reaches")
  func readAhead() {
    let upload = Remote.storageVolUpload
    let harness = Self.harness(1000, .upload, upload)
    let packet = stream(1, upload, .continue, [UInt8](repeating: 1, count: 9972))
    harness.fromClient(packet, packet, packet, call(2), packet, ping)
    #expect(harness.toBackend().map(\.serial).sorted() == [1, 2])
    #expect(harness.toClient().map(\.header.procedure) == [KeepAliveProcedure.pong])
    // A finish does not overtake the data before it.
    harness.fromClient(stream(1, upload, .ok), call(3))
    #expect(harness.toBackend().map(\.serial) == [3])
    harness.relay.now += 1000
    for _ in 0..<10 {
      harness.relay.settle()
      harness.relay.now += 10
    }
    #expect(harness.toBackend().map(\.header.status) == [.continue, .continue, .continue, .ok])
    harness.fromBackend(0, stream(1, upload, .ok))
    #expect(harness.toClient().map(\.serial) == [1])
    #expect(harness.relay.nextMeteredTime == nil)
    #expect(harness.relay.metered.isEmpty, "its queue is gone")
  }

  @Test("streams that share a rate get equal parts of it")
  func shared() {
    let upload = Remote.storageVolUpload
    let meter = Meter(rate: 1_000_000)
    let desks = (0..<3).map { _ in
      let harness = RelayHarness()
      harness.meters[.upload] = [meter]
      harness.fromClient(call(1, upload, []))
      return harness
    }
    let packet = stream(1, upload, .continue, [UInt8](repeating: 1, count: 9972))
    var bytes = [0, 0, 0]
    var now = 0.0
    while now < 10 {
      now += 0.004
      for (index, harness) in desks.enumerated() {
        harness.relay.now = now
        while harness.relay.clientInterest.contains(.read) { harness.fromClient(packet) }
        harness.relay.settle()
        bytes[index] += harness.backends[0].takeBytes().count
      }
    }
    for part in bytes { #expect(abs(Double(part) / (10e6 / 3) - 1) < 0.05, "\(bytes)") }
    #expect(abs(Double(bytes.reduce(0, +)) / 10e6 - 1) < 0.03)
  }

  @Test("setting, changing or removing a rate applies to open streams")
  func live() {
    let download = Remote.storageVolDownload
    let harness = RelayHarness()
    harness.relay.now = 5
    harness.fromClient(call(1, download, []))
    harness.fromBackend(0, reply(1, download))
    let packet = stream(1, download, .continue, [UInt8](repeating: 1, count: 99_972))
    harness.client.room = 50
    harness.fromBackend(0, packet)
    // Data queued before the rate was set leave first.
    let meter = Meter(rate: 1000)
    harness.meters[.download] = [meter]
    harness.relay.meterStreams()
    harness.fromBackend(0, packet, packet, packet)
    harness.clientReads()
    #expect(harness.toClient().count == 3, "reply, what was under way, and one at once")
    harness.relay.now += 50
    harness.relay.settle()
    #expect(harness.toClient().isEmpty)
    meter.change(rate: 100_000)
    harness.relay.settle()
    #expect(harness.toClient().count == 1, "those who waited do not wait for the old rate")
    meter.change(rate: 0)
    harness.relay.settle()
    #expect(harness.toClient().count == 1)
    for _ in 0..<20 { harness.fromBackend(0, packet) }
    #expect(harness.toClient().count == 20)
  }

  @Test(
    "data of a rate-limited stream arrive after the death of their daemon, and its error after them"
  )
  func death() throws {
    let download = Remote.storageVolDownload
    let harness = Self.harness(1000, .download, download)
    let packet = stream(1, download, .continue, [UInt8](repeating: 1, count: 9972))
    harness.fromBackend(0, packet, packet, packet)
    #expect(harness.toClient().count == 1)
    harness.backendEnds()
    let last = harness.toClient().filter { $0.header.kind == .stream }
    #expect(last.map(\.header.status) == [.continue, .continue, .error])
    #expect(harness.relay.waitingForClient == 0)
    harness.relay.clear()
    #expect(harness.pool.heldCount == 0)
  }
}
