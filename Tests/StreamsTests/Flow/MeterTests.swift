// Rates: exact, fair, and nobody else's business.
import Testing

@testable import Streams

@Suite("rates")
struct MeterTests {
  /// Runs the relay's clock to `end`, calling `settle` only when the relay asked for it.
  private static func run(_ desk: Desk, until end: Double, _ feed: () -> Void) {
    while desk.relay.now < end {
      feed()
      guard let next = desk.relay.nextMeteredTime else {
        desk.relay.now += 0.001
        continue
      }
      // No loop is on time.
      desk.relay.now = max(desk.relay.now, next) + 0.0007
      desk.relay.settle()
    }
  }

  private static func desk(_ rate: Int, _ kind: StreamKind, _ procedure: Int32) -> Desk {
    let desk = Desk()
    desk.meters[kind] = [Meter(rate: rate)]
    desk.relay.now = 100
    desk.fromClient(call(1, procedure, []))
    desk.fromBackend(0, reply(1, procedure))
    _ = desk.toBackend()
    _ = desk.toClient()
    return desk
  }

  @Test(
    "an upload moves its rate within 3 %, whatever the sizes of its packets",
    arguments: [100_000, 10_000_000, 1_000_000_000], [172, 65_508, 262_120])
  func upload(rate: Int, payload: Int) {
    let upload = Remote.storageVolUpload
    let desk = Self.desk(rate, .upload, upload)
    let packet = stream(1, upload, .continue, [UInt8](repeating: 1, count: payload))
    let seconds = max(5, 100 * Double(packet.count) / Double(rate))
    var bytes = 0
    Self.run(desk, until: 100 + min(seconds, 3e7 / Double(rate))) {
      while desk.relay.clientInterest.contains(.read) { desk.fromClient(packet) }
      bytes += desk.backends[0].takeBytes().count
    }
    bytes += desk.backends[0].takeBytes().count
    let expected = Double(rate) * (desk.relay.now - 100)
    #expect(abs(Double(bytes) / expected - 1) < 0.03, "\(bytes) bytes, not \(expected)")
    if rate < 100_000_000 {
      #expect(desk.relay.pause(of: desk.relay.callsUnderWay[0]) == .limit)
    }
    #expect(desk.relay.waitingForUpstreams <= 2 * (Marks().high + packet.count))
  }

  @Test("calls, consoles and their answers pass a download that waits for its rate")
  func passes() throws {
    let (download, console) = (Remote.storageVolDownload, Remote.domainOpenConsole)
    let desk = Self.desk(1000, .download, download)
    let packet = stream(1, download, .continue, [UInt8](repeating: 1, count: 9972))
    for _ in 0..<10 { desk.fromBackend(0, packet) }
    #expect(desk.toClient().count == 1, "the first goes at once, the others wait")
    desk.fromClient(call(2), call(3, console, []))
    #expect(desk.toBackend().map(\.serial) == [2, 3])
    desk.fromBackend(0, reply(2), reply(3, console), stream(3, console, .continue, [65]))
    #expect(desk.toClient().map(\.serial) == [2, 3, 3])
    desk.fromClient(stream(3, console, .continue, [66]))
    #expect(desk.toBackend().map(\.payload) == [[66]])
    desk.relay.now += 10.1
    desk.relay.settle()
    #expect(desk.toClient().map(\.serial) == [1])
  }

  @Test("calls pass an upload on the same connection as far as what is read ahead reaches")
  func readAhead() {
    let upload = Remote.storageVolUpload
    let desk = Self.desk(1000, .upload, upload)
    let packet = stream(1, upload, .continue, [UInt8](repeating: 1, count: 9972))
    desk.fromClient(packet, packet, packet, call(2), packet, ping)
    #expect(desk.toBackend().map(\.serial).sorted() == [1, 2])
    #expect(desk.toClient().map(\.header.procedure) == [KeepAliveProcedure.pong])
    // A finish does not pass the data in front of it.
    desk.fromClient(stream(1, upload, .ok), call(3))
    #expect(desk.toBackend().map(\.serial) == [3])
    desk.relay.now += 1000
    for _ in 0..<10 {
      desk.relay.settle()
      desk.relay.now += 10
    }
    #expect(desk.toBackend().map(\.header.status) == [.continue, .continue, .continue, .ok])
    desk.fromBackend(0, stream(1, upload, .ok))
    #expect(desk.toClient().map(\.serial) == [1])
    #expect(desk.relay.nextMeteredTime == nil)
    #expect(desk.relay.metered.allSatisfy { $0 == nil }, "its lane is gone")
  }

  @Test("streams that share a rate get equal parts of it")
  func shared() {
    let upload = Remote.storageVolUpload
    let meter = Meter(rate: 1_000_000)
    let desks = (0..<3).map { _ in
      let desk = Desk()
      desk.meters[.upload] = [meter]
      desk.fromClient(call(1, upload, []))
      return desk
    }
    let packet = stream(1, upload, .continue, [UInt8](repeating: 1, count: 9972))
    var bytes = [0, 0, 0]
    var now = 0.0
    while now < 10 {
      now += 0.004
      for (index, desk) in desks.enumerated() {
        desk.relay.now = now
        while desk.relay.clientInterest.contains(.read) { desk.fromClient(packet) }
        desk.relay.settle()
        bytes[index] += desk.backends[0].takeBytes().count
      }
    }
    for part in bytes { #expect(abs(Double(part) / (10e6 / 3) - 1) < 0.05, "\(bytes)") }
    #expect(abs(Double(bytes.reduce(0, +)) / 10e6 - 1) < 0.03)
  }

  @Test("a rate that is changed, set or lifted holds for streams under way")
  func live() {
    let download = Remote.storageVolDownload
    let desk = Desk()
    desk.relay.now = 5
    desk.fromClient(call(1, download, []))
    desk.fromBackend(0, reply(1, download))
    let packet = stream(1, download, .continue, [UInt8](repeating: 1, count: 99_972))
    desk.client.room = 50
    desk.fromBackend(0, packet)
    // What is under way when a rate comes goes first.
    let meter = Meter(rate: 1000)
    desk.meters[.download] = [meter]
    desk.relay.meterStreams()
    desk.fromBackend(0, packet, packet, packet)
    desk.clientReads()
    #expect(desk.toClient().count == 3, "reply, what was under way, and one at once")
    desk.relay.now += 50
    desk.relay.settle()
    #expect(desk.toClient().isEmpty)
    meter.change(rate: 100_000)
    desk.relay.settle()
    #expect(desk.toClient().count == 1, "those who waited do not wait for the old rate")
    meter.change(rate: 0)
    desk.relay.settle()
    #expect(desk.toClient().count == 1)
    for _ in 0..<20 { desk.fromBackend(0, packet) }
    #expect(desk.toClient().count == 20)
  }

  @Test(
    "what a daemon that dies had given to a limited stream still arrives, and its error behind it")
  func death() throws {
    let download = Remote.storageVolDownload
    let desk = Self.desk(1000, .download, download)
    let packet = stream(1, download, .continue, [UInt8](repeating: 1, count: 9972))
    desk.fromBackend(0, packet, packet, packet)
    #expect(desk.toClient().count == 1)
    desk.backendEnds()
    let last = desk.toClient().filter { $0.header.kind == .stream }
    #expect(last.map(\.header.status) == [.continue, .continue, .error])
    #expect(desk.relay.waitingForClient == 0)
    desk.relay.clear()
    #expect(desk.pool.heldCount == 0)
  }
}
