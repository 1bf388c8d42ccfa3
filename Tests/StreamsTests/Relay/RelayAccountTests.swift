// The relay's records of the calls and streams that pass through it.
import Testing

@testable import Streams

@Suite("accounts")
struct RelayAccountTests {
  private static func opening(_ procedure: Int32, _ body: (inout XDRWriter) -> Void) -> [UInt8] {
    var writer = XDRWriter()
    body(&writer)
    return call(1, procedure, writer.bytes)
  }

  private static func domain(_ writer: inout XDRWriter, _ name: String) {
    writer.string(name)
    for _ in 0..<5 { writer.uint32(7) }
  }

  @Test("a call under way has its stream's kind, object, age and bytes in each direction")
  func streamTold() throws {
    let harness = RelayHarness()
    harness.relay.now = 10
    harness.fromClient(
      Self.opening(Remote.domainOpenConsole) { writer in
        Self.domain(&writer, "demo")
        writer.uint32(0)
        writer.uint32(0)
      })
    harness.relay.now = 12.5
    harness.fromBackend(0, reply(1, Remote.domainOpenConsole))
    harness.fromClient(
      stream(1, Remote.domainOpenConsole, .continue, [1]),
      stream(1, Remote.domainOpenConsole, .continue, [2, 3]))
    harness.fromBackend(0, stream(1, Remote.domainOpenConsole, .continue, [4, 5, 6, 7]))
    let found = try #require(harness.relay.callsUnderWay.first)
    #expect(found.kind == .console)
    #expect(found.startedAt == 10)
    #expect((found.up.bytes, found.up.packets) == (3, 2))
    #expect((found.down.bytes, found.down.packets) == (4, 1))
    #expect(harness.relay.object(of: found) == .domain("demo"))
    #expect(harness.replied.map(\.serial) == [1])
    #expect(harness.over.isEmpty)
  }

  @Test(
    "replies are counted by procedure, result and time, whether a daemon or the broker sent them")
  func counted() throws {
    let harness = RelayHarness(isOpen: false)
    harness.isAnswered = { $0.procedure == Remote.connectOpen }
    harness.fromClient(call(1, Remote.connectOpen))
    harness.relay.isOpen = true
    harness.relay.now = 10
    harness.fromClient(call(2, 157), call(3, 157), call(4, 9999), call(5, -7))
    harness.relay.now = 10.02
    harness.fromBackend(0, reply(2, 157), reply(4, 9999), reply(5, -7))
    harness.relay.now = 100
    harness.fromBackend(0, reply(3, 157, .error))
    let counts = try #require(harness.answerCounts)
    var found: [Int32: [UInt64]] = [:]
    counts.each(of: Program.remote) { found[$0] = [$1, $2] }
    #expect(found == [Remote.connectOpen: [1, 0], 157: [1, 1], 0: [2, 0]])
    for program in [Program.qemu, Program.lxc, Program.keepAlive] {
      counts.each(of: program) { procedure, _, _ in Issue.record("\(program): \(procedure)") }
    }
    let place = try #require(Histograms.bounds.firstIndex { $0 >= 0.02 })
    let within = counts.latencies.cumulative(Int(Driver.hypervisor.rawValue))
    #expect(within == within.indices.map { $0 < place ? 0 : $0 < Histograms.bounds.count ? 3 : 4 })
    #expect(abs(counts.latencies.sum(Int(Driver.hypervisor.rawValue)) - 90.06) < 1e-6)
    #expect(counts.latencies.cumulative(Int(Driver.storage.rawValue)).last == 0)
  }

  @Test("only replies with requested access, and replies to calls that open streams, are reported")
  func told() {
    let create: Int32 = 9
    let harness = RelayHarness(told: [.change])
    harness.fromClient(
      Self.opening(Remote.domainOpenConsole) { Self.domain(&$0, "demo") },
      call(2, 157), call(3, create))
    harness.fromBackend(
      0, reply(1, Remote.domainOpenConsole), reply(2, 157), reply(3, create))
    #expect(harness.replied.map(\.serial) == [1, 3])
  }

  @Test("the object of every kind of stream is found in its opening call")
  func objects() throws {
    typealias Case = (procedure: Int32, object: StreamObject?, body: (inout XDRWriter) -> Void)
    let xml = "<domain type='qemu'>\n  <name>moved</name>\n</domain>"
    let long = String(repeating: "é", count: 300)
    let cases: [Case] = [
      (Remote.domainOpenChannel, .domain("demo"), { Self.domain(&$0, "demo") }),
      (Remote.domainScreenshot, .domain("demo"), { Self.domain(&$0, "demo") }),
      (
        Remote.domainOpenConsole, .domain(String(repeating: "é", count: 128)),
        { Self.domain(&$0, long) }
      ),
      (
        Remote.storageVolUpload, .volume(pool: "default", name: "a.img"),
        {
          VolumeTransferArguments(
            pool: "default", name: "a.img", key: "/a.img", offset: 0, length: 0, flags: 0
          ).encode(into: &$0)
        }
      ),
      (
        Remote.domainMigratePrepareTunnel, .domain("new"),
        { writer in
          writer.uint64(1)
          writer.optional("new") { $0.string($1) }
          writer.uint64(0)
          writer.string(xml)
        }
      ),
      (
        Remote.domainMigratePrepareTunnel3, .domain("moved"),
        { writer in
          writer.opaque([1, 2, 3])
          writer.uint64(1)
          writer.uint32(0)
          writer.uint64(0)
          writer.string(xml)
        }
      ),
      (
        Remote.domainMigratePrepareTunnel3Parameters, .domain("moved"),
        { writer in
          writer.array([TypedParameter("destination_xml", .string(xml))]) { $1.encode(into: &$0) }
          writer.opaque([])
          writer.uint32(0)
        }
      ),
      (Remote.domainOpenConsole, nil, { $0.uint32(1 << 30) }),
    ]
    for (procedure, object, body) in cases {
      let harness = RelayHarness()
      harness.fromClient(Self.opening(procedure, body))
      let found = try #require(harness.relay.callsUnderWay.first)
      #expect(harness.relay.object(of: found) == object, "procedure \(procedure)")
    }
  }

  @Test("the end of a stream is reported once, with the bytes it moved")
  func ends() throws {
    let upload = Remote.storageVolUpload
    func harness(_ steps: (RelayHarness) -> Void) -> RelayHarness {
      let harness = RelayHarness()
      harness.fromClient(call(1, upload, []))
      steps(harness)
      return harness
    }
    let finish = stream(1, upload, .ok)
    let abort = stream(1, upload, .error)
    let open = reply(1, upload)
    let cases: [(StreamResult, RelayHarness)] = [
      (
        .finished,
        harness {
          $0.fromBackend(0, open)
          $0.fromClient(stream(1, upload, .continue, [1, 2]), finish)
          $0.fromBackend(0, finish)
        }
      ),
      (
        .aborted,
        harness {
          $0.fromBackend(0, open)
          $0.fromClient(stream(1, upload, .continue, [1, 2]), abort)
          $0.fromBackend(0, finish)
        }
      ),
      (
        .failed,
        harness {
          $0.fromBackend(0, open)
          $0.fromClient(stream(1, upload, .continue, [1, 2]))
          $0.fromBackend(0, abort)
        }
      ),
      (
        .refused,
        harness {
          $0.fromClient(stream(1, upload, .continue, [1, 2]))
          $0.fromBackend(
            0,
            Packets.error(
              answering: PacketHeader(procedure: upload, kind: .reply, serial: 1),
              RemoteError(.operationFailed, "no")))
        }
      ),
      (
        .backendLost,
        harness {
          $0.fromClient(stream(1, upload, .continue, [1, 2]))
          $0.backendEnds()
        }
      ),
      (
        .clientGone,
        harness {
          $0.fromClient(stream(1, upload, .continue, [1, 2]))
          $0.relay.clear()
          $0.relay.clear()
        }
      ),
    ]
    for (result, harness) in cases {
      let over = try #require(harness.over.first, "\(result)")
      #expect(harness.over.count == 1)
      #expect(over.result == result)
      #expect(over.call.up.bytes == 2, "\(result)")
      #expect(harness.relay.callsUnderWay.isEmpty)
    }
  }

  @Test(
    "a paused stream names the side that pauses it, and the relay counts each side's paused time")
  func pauses() throws {
    let harness = RelayHarness(watermarks: Watermarks(high: 64, ahead: 64))
    let download = Remote.storageVolDownload
    harness.relay.now = 1
    harness.fromClient(call(1, download, []))
    harness.fromBackend(0, reply(1, download))
    _ = harness.toClient()
    let found = try #require(harness.relay.callsUnderWay.first)
    #expect(harness.relay.pause(of: found) == nil)
    harness.client.room = 0
    harness.relay.now = 2
    harness.fromBackend(0, stream(1, download, .continue, [UInt8](repeating: 0, count: 100)))
    #expect(harness.relay.pause(of: found) == .client)
    harness.relay.now = 5
    #expect(harness.relay.pausedSeconds(by: .client, at: harness.relay.now) == 3)
    harness.clientReads()
    harness.relay.now = 9
    #expect(harness.relay.pause(of: found) == nil)
    #expect(harness.relay.pausedSeconds(by: .client, at: harness.relay.now) == 3)
    #expect(harness.relay.pausedSeconds(by: .backend, at: harness.relay.now) == 0)

    harness.fromClient(call(2, Remote.storageVolUpload, []))
    harness.backends[0].room = 0
    harness.fromClient(
      stream(2, Remote.storageVolUpload, .continue, [UInt8](repeating: 0, count: 100)))
    let upload = try #require(harness.relay.callsUnderWay.first { $0.serial == 2 })
    #expect(harness.relay.pause(of: upload) == .backend)
    #expect(harness.relay.pause(of: found) == nil)
    harness.relay.now = 10
    #expect(harness.relay.pausedSeconds(by: .backend, at: harness.relay.now) == 1)
  }
}
