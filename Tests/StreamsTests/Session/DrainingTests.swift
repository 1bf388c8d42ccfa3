// Which clients a draining broker keeps.
import Testing

@testable import Simulator
@testable import Streams

@Suite("session: draining")
struct DrainingTests {
  private static let reads: Int32 = 59
  private static let unregister: Int32 = 361

  private func call(_ serial: UInt32, _ procedure: Int32 = reads) -> [UInt8] {
    Packets.make(PacketHeader(procedure: procedure, kind: .call, serial: serial))
  }

  private func reply(_ serial: UInt32, _ procedure: Int32 = reads) -> [UInt8] {
    Packets.reply(answering: PacketHeader(procedure: procedure, kind: .call, serial: serial))
  }

  @Test("a client is idle 5 s after its last call or reply, if nothing depends on its connection")
  func decision() {
    var idle = ClientActivity()
    idle.calledAt = 10
    #expect(idle.idleAt == 15)
    let reasons: [(inout ClientActivity) -> Void] = [
      { $0.calls = 1 }, { $0.hasQueued = true }, { $0.hasDependents = true },
    ]
    for reason in reasons {
      var busy = idle
      reason(&busy)
      #expect(busy.idleAt == nil)
    }
  }

  @Test("everything that ends with the connection to a daemon keeps the client")
  func dependents() {
    #expect(Dependents().isEmpty)
    let reasons: [(inout Dependents) -> Void] = [
      { $0.hasCloseCallback = true }, { $0.hasUnknownRegistration = true }, { $0.migrations = 1 },
      { $0.hasBoundGuest = true }, { $0.hasDescriptors = true },
    ]
    for reason in reasons {
      var dependents = Dependents()
      reason(&dependents)
      #expect(!dependents.isEmpty)
    }
  }

  @Test("a client that has been quiet for long is closed when the drain begins")
  func idle() {
    let harness = SessionHarness()
    harness.open()
    harness.wait(6)
    #expect(!harness.session.isOver)
    harness.post(.drain)
    #expect(harness.actions.last == .end(Message(.idleWhileDraining)))
  }

  @Test("a client with a call under way is kept, and closed 5 s after the reply")
  func busy() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2))
    harness.post(.drain)
    harness.wait(100)
    #expect(!harness.session.isOver)
    harness.fromBackend(main, reply(2))
    #expect(harness.toClient().map(\.serial) == [2])
    harness.wait(4.9)
    #expect(!harness.session.isOver)
    harness.wait(0.2)
    #expect(harness.session.isOver)
  }

  @Test("a client that sends a call in time is served as before")
  func calls() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.post(.drain)
    for serial: UInt32 in 2...9 {
      harness.wait(4)
      harness.fromClient(call(serial))
      harness.fromBackend(main, reply(serial))
      #expect(harness.toClient().map(\.serial) == [serial])
    }
    harness.wait(5.1)
    #expect(harness.session.isOver)
  }

  @Test("a client with a close callback is kept until it has unregistered it")
  func closeCallback() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, Remote.connectRegisterCloseCallback))
    harness.fromBackend(main, reply(2, Remote.connectRegisterCloseCallback))
    harness.post(.drain)
    harness.wait(100)
    #expect(!harness.session.isOver)
    harness.fromClient(call(3, Self.unregister))
    harness.fromBackend(main, reply(3, Self.unregister))
    harness.wait(5.1)
    #expect(harness.session.isOver)
  }

  @Test("a client that has not opened yet may still do so")
  func opening() {
    let harness = SessionHarness()
    harness.post(.drain)
    harness.wait(100)
    #expect(!harness.session.isOver)
    harness.open()
    #expect(!harness.session.isOver)
    harness.wait(5.1)
    #expect(harness.session.isOver)
  }

  @Test("a stop ends a client that a drain has kept")
  func stop() {
    let harness = SessionHarness()
    let main = harness.open()
    harness.fromClient(call(2, Remote.connectRegisterCloseCallback))
    harness.fromBackend(main, reply(2, Remote.connectRegisterCloseCallback))
    harness.post(.drain)
    harness.post(.stop)
    #expect(harness.actions.last == .end(Message(.brokerStopping)))
    // A drain that comes too late changes nothing.
    let busy = SessionHarness()
    busy.open()
    busy.fromClient(call(2))
    busy.post(.stop)
    busy.post(.drain)
    #expect(busy.session.isStopping && !busy.session.isOver)
  }
}
