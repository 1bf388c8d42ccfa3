// What one session does, behaviour by behaviour.
import Testing

@testable import Simulator
@testable import Streams

@Suite("session")
struct SessionTests {
  private static let countPools: Int32 = 71

  // MARK: Opening

  @Test("a read-only listener makes every upstream read-only, whatever flags the client sends")
  func readOnlyListener() throws {
    let harness = SessionHarness(isReadOnly: true)
    harness.fromClient(SessionHarness.openCall(flags: 6))
    harness.connect()
    let calls = harness.answerCalls(harness.lastUpstream)
    harness.fromClient(call(2, SessionTests.countPools))
    #expect(harness.readOnlyUpstreams == [true, true])
    let open = try #require(calls.first { $0.header.procedure == Remote.connectOpen })
    #expect(try arguments(open).flags == 1)
  }

  @Test("a client that opens read-only gets read-only upstreams, one that does not gets others")
  func readOnlyFlag() throws {
    for flags: UInt32 in [0, 1] {
      let harness = SessionHarness()
      harness.fromClient(SessionHarness.openCall(flags: flags))
      harness.connect()
      let calls = harness.answerCalls(harness.lastUpstream)
      let open = try #require(calls.first { $0.header.procedure == Remote.connectOpen })
      #expect(try arguments(open).flags == flags)
      #expect(harness.readOnlyUpstreams == [flags == 1])
    }
  }

  private func arguments(_ open: Arrived) throws -> ConnectOpenArguments {
    try open.payload.withUnsafeBytes { try ConnectOpenArguments(payload: $0) }
  }

  @Test("a backend receives login, CONNECT_OPEN and the identity, in this order, before any call")
  func openingOrder() {
    let harness = SessionHarness()
    harness.fromClient(SessionHarness.openCall(), call(2))
    harness.connect()
    #expect(
      harness.answerCalls(harness.lastUpstream).map(\.header.procedure)
        == [Remote.authList, Remote.connectOpen, Remote.connectSetIdentity, 3])
  }

  @Test("a backend hears who the client is when the names are known, and not before")
  func namesAwaited() throws {
    let harness = SessionHarness(VerifiedIdentity(peer: SessionHarness.peer))
    harness.fromClient(SessionHarness.openCall())
    harness.connect()
    #expect(harness.answerCalls(harness.lastUpstream).count == 2)
    harness.post(.namesKnown(UnixNames(user: "alice", group: "users")))
    let identity = try #require(harness.toBackend(harness.lastUpstream).first)
    let told = try identity.payload.withUnsafeBytes { try SetIdentityArguments(payload: $0) }
    #expect(told.parameters == harness.session.identity.parameters)
    #expect(told.parameters.contains(TypedParameter("user-name", .string("alice"))))
  }

  @Test("the client's own SET_IDENTITY is answered and not passed on")
  func ownIdentity() {
    let harness = SessionHarness()
    let main = harness.open()
    let claim = SetIdentityArguments(parameters: [TypedParameter("user-name", .string("root"))])
    harness.fromClient(SessionHarness.make(Remote.connectSetIdentity, 2, claim))
    #expect(harness.toClient().map(\.header.status) == [.ok])
    #expect(harness.toBackend(main).isEmpty)
  }

  @Test("a backend that does not answer in time fails CONNECT_OPEN, and the client may try again")
  func openTime() {
    let harness = SessionHarness(settings: SessionSettings(openSeconds: 30))
    harness.fromClient(SessionHarness.openCall())
    harness.connect()
    harness.wait(29.9)
    #expect(harness.toClient().isEmpty)
    harness.wait(0.2)
    #expect(harness.toClient().map(\.error?.code) == [.operationFailed])
    harness.open()
    #expect(harness.session.main != nil)
  }

  // MARK: Drivers

  @Test("calls of a driver without a daemon go to the main one, and each asks for the daemon again")
  func absentDriver() {
    let harness = SessionHarness()
    let main = harness.open()
    for serial: UInt32 in [2, 3] {
      harness.fromClient(call(serial, SessionTests.countPools))
      harness.post(.upstream(harness.lastUpstream, .unavailable(RemoteError(.noConnect, "absent"))))
      #expect(harness.toBackend(main).map(\.serial) == [serial])
      harness.fromBackend(main, reply(serial, SessionTests.countPools))
    }
    #expect(harness.driversAskedFor == [.storage, .storage])
  }

  @Test("calls of a driver with a daemon of its own wait until it is open")
  func ownDriver() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, SessionTests.countPools), call(3))
    harness.connect(SessionHarness.storage)
    #expect(harness.toBackend(main).map(\.serial) == [3])
    let calls = harness.answerCalls(harness.lastUpstream)
    #expect(calls.last?.serial == 2)
    harness.fromClient(call(4, SessionTests.countPools))
    #expect(harness.driversAskedFor == [.storage])
  }

  @Test("a call whose driver's daemon is not reached in time fails, and the next one asks again")
  func unreachableDriver() {
    let harness = SessionHarness(settings: SessionSettings(openSeconds: 30))
    let main = harness.open()
    harness.fromClient(call(2, SessionTests.countPools))
    harness.post(.upstream(harness.lastUpstream, .located(SessionHarness.storage)))
    harness.wait(30.1)
    #expect(harness.toClient().map(\.serial) == [2])
    harness.fromClient(call(3), call(4, SessionTests.countPools))
    #expect(harness.toBackend(main).map(\.serial) == [3])
    #expect(harness.driversAskedFor == [.storage, .storage])
  }

  // MARK: Login

  @Test("a login that takes too long ends the connection")
  func loginTime() {
    let harness = SessionHarness(authentication: .sasl, settings: SessionSettings(loginSeconds: 60))
    harness.wait(59.9)
    #expect(!harness.session.isOver)
    harness.wait(0.2)
    #expect(harness.session.isOver)
    #expect(
      harness.actions.contains(
        .note(.refused(.loginTime, Message(.notAuthenticatedInTime, [60])))))
  }

  @Test("the eighth failure of SASL ends the connection")
  func saslFailures() {
    let harness = SessionHarness(authentication: .sasl)
    for serial: UInt32 in 1...8 {
      #expect(!harness.session.isOver)
      harness.fromClient(SessionHarness.make(Remote.authSASLStep, serial, SASLData(nil)))
    }
    #expect(
      harness.toClient().map(\.error?.code) == Array(repeating: .authenticationFailed, count: 8))
    #expect(harness.session.isOver)
  }

  @Test("nothing but authentication is served before it")
  func unauthenticated() {
    let harness = SessionHarness(authentication: .sasl)
    harness.fromClient(SessionHarness.openCall(), call(2), SessionHarness.feature(10, 3))
    let answers = harness.toClient()
    #expect(answers.map(\.error?.code) == [.rpc, .rpc, .rpc])
    #expect(harness.actions.isEmpty)
  }

  // MARK: Liveness

  @Test("a silent client is dropped one interval after the last PING that its count allows")
  func silentClient() {
    let keepAlive = KeepAliveSettings(intervalSeconds: 5, count: 2)
    let harness = SessionHarness(settings: SessionSettings(keepAlive: keepAlive))
    harness.fromClient(SessionHarness.feature(10, 1))
    _ = harness.toClient()
    harness.wait(14.9)
    #expect(harness.toClient().count == 2)
    #expect(!harness.session.isOver)
    harness.wait(0.2)
    #expect(harness.session.isOver)
    #expect(harness.actions.contains(.note(.keepAliveTimeout)))
  }

  @Test("a client that answers its PINGs is not dropped")
  func livingClient() {
    let keepAlive = KeepAliveSettings(intervalSeconds: 5, count: 1)
    let harness = SessionHarness(settings: SessionSettings(keepAlive: keepAlive))
    harness.fromClient(SessionHarness.feature(10, 1))
    for _ in 0..<20 {
      harness.wait(5.5)
      harness.fromClient(pong)
    }
    #expect(!harness.session.isOver)
  }

  @Test("a client that is not read is not dropped, and still receives PINGs")
  func pausedClient() {
    let keepAlive = KeepAliveSettings(intervalSeconds: 5, count: 1)
    let harness = SessionHarness(
      settings: SessionSettings(keepAlive: keepAlive), maxRequests: 1,
      watermarks: Watermarks(high: 4096, ahead: 100, own: 4096))
    harness.open()
    harness.fromClient(SessionHarness.feature(10, 2))
    harness.fromClient(call(3), call(4, 3, [UInt8](repeating: 0, count: 172)))
    _ = harness.toClient()
    #expect(harness.driver.relay.isClientPaused)
    harness.wait(60)
    #expect(!harness.session.isOver)
    #expect(harness.toClient().count >= 10)
  }

  // MARK: The end

  @Test("CONNECT_CLOSE is answered when every backend has closed")
  func close() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, Remote.connectClose))
    #expect(harness.toClient().isEmpty)
    #expect(harness.answerCalls(main).map(\.header.procedure) == [Remote.connectClose])
    #expect(harness.toClient().map(\.serial) == [2])
    #expect(harness.session.isOver)
  }

  @Test("CONNECT_CLOSE is answered after 5 s, whatever the backend does")
  func closeWithHangingBackend() {
    let harness = SessionHarness()
    harness.open()
    harness.fromClient(call(2, Remote.connectClose))
    harness.wait(4.9)
    #expect(harness.toClient().isEmpty)
    harness.wait(0.2)
    #expect(harness.toClient().map(\.serial) == [2])
    #expect(harness.session.isOver)
  }

  @Test("without the main backend what is queued goes out, then the connection is half-closed")
  func mainLost() {
    let harness = SessionHarness(settings: SessionSettings(reconnect: .never))
    let main = harness.open()
    harness.fromClient(call(2), call(3))
    harness.client.room = 10
    harness.fromBackend(main, reply(2))
    harness.backendEnds(main)
    #expect(harness.session.isLost)
    #expect(!harness.actions.contains(.closeSending))
    harness.clientReads()
    let answers = harness.toClient()
    #expect(answers.map(\.serial) == [2, 3])
    #expect(answers.map(\.header.status) == [.ok, .error])
    #expect(harness.actions.contains(.closeSending))
    #expect(!harness.session.isOver)
    harness.clientEnds()
    #expect(harness.session.isOver)
  }

  @Test("without the main backend a client that does not close its side is dropped after 5 s")
  func mainLostClientStays() {
    let harness = SessionHarness(settings: SessionSettings(reconnect: .never))
    harness.backendEnds(harness.open())
    #expect(harness.actions.contains(.closeSending))
    harness.wait(4.9)
    #expect(!harness.session.isOver)
    harness.wait(0.2)
    #expect(harness.session.isOver)
  }

  @Test("only a client that registered for it hears of the loss, and only of that of its main one")
  func closeEvent() {
    let harness = SessionHarness()
    let main = harness.open()
    let register = Remote.connectRegisterCloseCallback
    harness.fromClient(call(2, register))
    harness.fromBackend(main, reply(2, register))
    harness.fromClient(call(3, SessionTests.countPools))
    harness.connect(SessionHarness.storage)
    harness.answerCalls(harness.lastUpstream)
    _ = harness.toClient()
    harness.backendEnds(harness.lastUpstream)
    #expect(harness.toClient().isEmpty)
    #expect(!harness.session.isLost)
    harness.backendEnds(main)
    #expect(harness.toClient().map(\.header.procedure) == [Remote.connectEventConnectionClosed])
  }

  @Test("after a stop an idle session ends at once, another one when its calls are answered")
  func stop() {
    let idle = SessionHarness()
    idle.open()
    idle.post(.stop)
    #expect(idle.session.isOver)
    let busy = SessionHarness()
    let main = busy.open()
    busy.fromClient(call(2))
    busy.post(.stop)
    #expect(!busy.session.isOver)
    busy.fromBackend(main, reply(2))
    #expect(busy.toClient().map(\.serial) == [2])
    #expect(busy.session.isOver)
  }

  @Test("a client that is one too many is told so and leaves")
  func tooMany() {
    let harness = SessionHarness()
    harness.post(.turnAway(.address, Message(.simulated)))
    harness.fromClient(SessionHarness.openCall())
    #expect(harness.toClient().map(\.error?.code) == [.operationFailed])
    #expect(harness.session.isOver)
    let quiet = SessionHarness()
    quiet.post(.turnAway(.address, Message(.simulated)))
    quiet.wait(5.1)
    #expect(quiet.session.isOver)
  }

  @Test("a session that is over ignores every event")
  func over() {
    var session = Session(
      SessionClient(
        identity: VerifiedIdentity(), authentication: .none, isReadOnly: false, mark: 90_100),
      SessionSettings(), at: 0)
    let traffic = Session.Traffic()
    #expect(!session.handle(.end(Message(.simulated)), traffic, at: 1).isEmpty)
    let call = PacketHeader(procedure: Remote.connectOpen, kind: .call, serial: 1)
    let events: [SessionEvent] = [
      .turnAway(.address, Message(.simulated)), .call(call, body: []), .needsRoute(.storage),
      .namesKnown(UnixNames()), .sasl(.failed(Message(.simulated))), .polkit(.granted),
      .upstream(1, .connected), .clientEnded(.closed, Message(.simulated)),
      .settings(SessionSettings()), .drain, .stop,
      .end(Message(.simulated)), .time, .progress,
    ]
    for event in events {
      #expect(session.handle(event, traffic, at: 2).isEmpty, "\(event.name)")
    }
    #expect(session.deadline == nil)
  }
}
