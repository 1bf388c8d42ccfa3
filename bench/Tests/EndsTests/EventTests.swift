// Events between the synthetic ends.
import Foundation
import Streams
import Testing

@testable import Ends

@Suite("Events between the synthetic ends")
struct EventTests {
  @Test(
    "listeners get events at the rate they asked for, none before it is due",
    arguments: [false, true])
  func delivery(relayed: Bool) throws {
    let stage = try Stage(relayed: relayed)
    // A relay that has just been started gets some time until it listens.
    try stage.client().close()
    let listeners = try Listeners(3, at: stage.place, perSecond: 500)
    var delays: [UInt64] = []
    let start = now()
    try listeners.receive(seconds: 0.4) { delays.append($0) }
    // Those that arrive after the end do not count, which on a busy machine may be many.
    #expect((1...3 * 201).contains(delays.count), "\(delays.count)")
    #expect(delays.allSatisfy { $0 < now() - start })
    try listeners.close()
  }

  @Test("events that are late are sent later, and their delay counts from when they were due")
  func late() throws {
    let source = try EventSource(
      callback: 7, domain: DomainBody(name: "events=1000"), perSecond: 1000)
    sleep(until: now() + 20_000_000)
    var pair: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    let (sender, receiver) = (Socket(owning: pair[0]), Socket(owning: pair[1]))
    let late = Outflow(sender)
    try source.putDue(into: late)
    try late.flush()
    let inflow = Inflow(receiver)
    var moments: [UInt64] = []
    _ = try inflow.receive()
    while let header = try inflow.wholePacket() {
      #expect(header.kind == .message && header.procedure == Call.domainCallbackLifecycle)
      let event = try LifecycleEventBody(payload: try inflow.body())
      #expect(event.callback == 7 && event.domain.name == "events=1000")
      moments.append(event.moment)
    }
    #expect(moments.count >= 19)
    #expect(zip(moments, moments.dropFirst()).allSatisfy { $1 - $0 == 1_000_000 })
    #expect(moments.allSatisfy { $0 <= now() })
  }

  @Test("a connection with events still answers calls, and unregistering ends the events")
  func calls() throws {
    let client = try Stage().client()
    let callback = try client.listen(perSecond: 10_000)
    for _ in 0..<100 { try client.callOnce() }
    try client.stopListening(callback)
    // What was sent before the reply has been skipped; afterwards only replies arrive.
    try client.callOnce()
    #expect(client.socket.wait(for: POLLIN, milliseconds: 20) == 0)
    #expect(!client.inflow.hasHeader)
    try client.close()
  }
}
