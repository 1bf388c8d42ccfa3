// A session whose daemon is lost and comes back.
import Testing

@testable import Simulator
@testable import Streams

@Suite("session: a lost daemon")
struct SessionReopeningTests {
  /// DOMAIN_CREATE: a change.
  private static let change: Int32 = 9
  private static let countPools: Int32 = 71
  private static let libvirtd = UpstreamTarget(
    daemon: "libvirtd", path: "/run/libvirt", uri: "qemu:///system", servesAll: true)

  /// The daemon is back and answers the broker's own calls.
  private func comeBack(_ harness: SessionHarness, _ target: UpstreamTarget = SessionHarness.main) {
    harness.waitForAttempt()
    harness.connect(target)
    answerOwn(harness)
  }

  private func answerOwn(_ harness: SessionHarness) {
    for _ in 0..<3 {
      for call in harness.toBackend(harness.lastUpstream) {
        let isList = call.header.procedure == Remote.authList
        harness.fromBackend(
          harness.lastUpstream,
          isList
            ? Packets.reply(answering: call.header, AuthListResult(types: [0]))
            : Packets.reply(answering: call.header))
      }
    }
  }

  @Test(
    "a call that only reads is sent again and answered once, another one fails with an unknown outcome"
  )
  func calls() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2), call(3, Self.change))
    #expect(harness.toBackend(main).map(\.serial) == [2, 3])
    harness.backendEnds(main)
    let failed = harness.toClient()
    #expect(failed.map(\.serial) == [3])
    #expect(failed.first?.error?.code == .operationFailed)
    #expect(failed.first?.error?.message?.contains("outcome unknown") == true)
    #expect(!harness.session.isLost && harness.session.stateText == "reopening")
    // New calls wait.
    harness.fromClient(call(4, Self.change))
    comeBack(harness)
    let again = harness.toBackend(harness.lastUpstream)
    #expect(again.map(\.serial) == [2, 4])
    #expect(harness.session.stateText == "open")
    harness.fromBackend(harness.lastUpstream, reply(2))
    harness.fromBackend(harness.lastUpstream, reply(4, Self.change))
    #expect(harness.toClient().map(\.serial) == [2, 4])
  }

  @Test("a call is sent again once only")
  func twice() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2))
    harness.backendEnds(main)
    comeBack(harness)
    #expect(harness.toBackend(harness.lastUpstream).map(\.serial) == [2])
    harness.backendEnds(harness.lastUpstream)
    #expect(harness.toClient().map(\.serial) == [2])
    comeBack(harness)
    #expect(harness.toBackend(harness.lastUpstream).isEmpty)
    #expect(!harness.session.isLost)
  }

  @Test("a stream fails, and what its client still sends for it is dropped")
  func streams() {
    let harness = SessionHarness()
    let main = harness.open(Self.libvirtd)
    harness.fromClient(call(2, SimulatedBackend.upload))
    harness.fromBackend(main, reply(2, SimulatedBackend.upload))
    _ = harness.toClient()
    harness.backendEnds(main)
    let end = harness.toClient()
    #expect(end.map(\.header.kind) == [.stream] && end.first?.header.status == .error)
    harness.fromClient(stream(2, SimulatedBackend.upload, .continue, [1, 2, 3]), call(3))
    comeBack(harness, Self.libvirtd)
    #expect(harness.toBackend(harness.lastUpstream).map(\.serial) == [3])
  }

  @Test("a PING is answered while calls wait for the daemon")
  func pings() {
    let harness = SessionHarness(maxRequests: 1)
    let main = harness.open()
    harness.backendEnds(main)
    harness.fromClient(call(2), call(3), ping)
    #expect(harness.toClient().map(\.header.program) == [Program.keepAlive])
  }

  @Test(
    "a client is not kept if something that it had at the daemon would be missing",
    arguments: [
      Remote.connectRegisterCloseCallback, 105, 167, 313, 316, 368, 374, 380, 302, 303, 443,
    ])
  func bound(procedure: Int32) {
    let harness = SessionHarness()
    let main = harness.open(Self.libvirtd)
    harness.fromClient(call(2, procedure))
    harness.fromBackend(main, reply(2, procedure))
    _ = harness.toClient()
    harness.backendEnds(main)
    #expect(harness.session.isLost)
  }

  @Test(
    "a guest that its daemon destroys with the connection binds the client, any other does not",
    arguments: [(2, true), (0, false), (1, false), (3, true)] as [(UInt8, Bool)])
  func boundGuests(flags: UInt8, isBound: Bool) {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, 10, [0, 0, 0, 0, 0, 0, 0, flags]))
    harness.fromBackend(main, reply(2, 10))
    harness.backendEnds(main)
    #expect(harness.session.isLost == isBound)
  }

  @Test("a migration that has ended binds the client no more, one whose outcome is unknown does")
  func migrations() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, 302), call(3, 307))
    harness.fromBackend(main, reply(2, 302))
    harness.fromBackend(main, reply(3, 307, .error))
    harness.backendEnds(main)
    #expect(!harness.session.isLost)
    comeBack(harness)
    harness.fromClient(call(4, 305))
    harness.backendEnds(harness.lastUpstream)
    #expect(harness.session.isLost)
  }

  @Test("what does not come back in time fails the waiting calls, and then the connection ends")
  func givenUp() {
    var settings = SessionSettings()
    settings.reconnectSeconds = 3
    let harness = SessionHarness(settings: settings)
    let main = harness.open()
    harness.backendEnds(main)
    harness.fromClient(call(2))
    for _ in 0..<3 {
      harness.waitForAttempt()
      harness.post(
        .upstream(harness.lastUpstream, .unavailable(RemoteError(.systemError, "absent"))))
    }
    #expect(harness.toClient().isEmpty)
    harness.wait(3.1)
    #expect(harness.toClient().map(\.serial) == [2])
    #expect(harness.session.isLost)
  }

  @Test(
    "attempts continue until the daemon is back, at growing intervals that differ between clients")
  func attempts() {
    func times(_ seed: UInt64) -> [Double] {
      var session = Session(
        SessionClient(
          identity: VerifiedIdentity(), authentication: .none, isReadOnly: false, mark: 0,
          seed: seed),
        SessionSettings(), at: 0)
      let error = RemoteError(.systemError, "lost")
      var reopening = Upstream.Reopening(since: 0, error: error, registrations: [])
      return (0..<8).map { attempt in
        reopening.attempts = attempt
        _ = session.handle(.progress, Session.Traffic(), at: 0)
        return reopening.pause(seed)
      }
    }
    let pauses = (0..<100).map { times($0) }
    #expect(
      pauses.allSatisfy { $0[0] <= 0.1 && $0.dropFirst().allSatisfy { $0 > 0.09 && $0 <= 0.5 } })
    #expect(Set(pauses.map { $0[0] }).count == 100)
    #expect(pauses.allSatisfy { $0[1] < $0[4] })
  }

  @Test("a daemon that accepts and dies again is tried again, and nothing of the client is lost")
  func diesAgain() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.backendEnds(main)
    harness.fromClient(call(2, Self.change))
    for _ in 0..<3 {
      harness.waitForAttempt()
      harness.connect()
      harness.backendEnds(harness.lastUpstream)
    }
    comeBack(harness)
    #expect(harness.toBackend(harness.lastUpstream).map(\.serial) == [2])
    #expect(harness.toClient().isEmpty)
  }

  @Test("a driver's daemon comes back for its calls, and the others serve theirs meanwhile")
  func driver() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, Self.countPools))
    harness.connect(SessionHarness.storage)
    harness.answerCalls(harness.lastUpstream)
    _ = harness.toClient()
    harness.backendEnds(harness.lastUpstream)
    harness.fromClient(call(3, Self.countPools), call(4))
    #expect(harness.toBackend(main).map(\.serial) == [4])
    comeBack(harness, SessionHarness.storage)
    #expect(harness.toBackend(harness.lastUpstream).map(\.serial) == [3])
  }

  @Test("the client may close while its daemon is away")
  func closes() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.backendEnds(main)
    harness.fromClient(call(2, Remote.connectClose))
    #expect(harness.toClient().map(\.serial) == [2])
    #expect(harness.session.isOver)
  }

  @Test("with `never` the client's connection ends at once")
  func never() {
    let harness = SessionHarness(settings: SessionSettings(reconnect: .never))
    let main = harness.open()
    harness.backendEnds(main)
    #expect(harness.session.isLost)
  }
}
