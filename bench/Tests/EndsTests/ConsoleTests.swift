// Keystrokes between the synthetic ends.
import Foundation
import Streams
import Testing

@testable import Ends

@Suite("Consoles between the synthetic ends")
struct ConsoleTests {
  @Test(
    "every keystroke is echoed once, alone and with bulk streams on its connection",
    arguments: [false, true], [false, true])
  func keys(isBusy: Bool, relayed: Bool) throws {
    let stage = try Stage(relayed: relayed)
    let client = try stage.client()
    var echoes: [Echo] = []
    let start = now()
    let bulk = try client.type(Typing(perSecond: 200, seconds: 0.5), isBusy: isBusy) {
      echoes.append($0)
    }
    let elapsed = now() - start
    #expect(echoes.count == 100)
    #expect(elapsed >= 495_000_000)
    #expect(echoes.allSatisfy { $0.nanoseconds > 0 && $0.nanoseconds < elapsed })
    if isBusy {
      #expect(bulk > 10_000_000)
      #expect(echoes.contains { $0.bytesBetween > 0 })
    } else {
      #expect(bulk == 0)
      #expect(echoes.allSatisfy { $0.bytesBetween == 0 })
    }
    // No stream packets are left on the connection.
    try client.download(bytes: 1_000_000, isChecking: true)
    try client.close()
  }

  @Test("bulk streams on another connection run until the stop sign is raised")
  func crowd() throws {
    let stage = try Stage()
    let sign = StopSign()
    let other = Handed(try stage.client())
    let crowd = try Worker { try other.value.saturate(until: sign) }
    let client = try stage.client()
    var count = 0
    try client.type(Typing(perSecond: 100, seconds: 0.2)) { _ in count += 1 }
    sign.raise()
    #expect(try crowd.value() > 10_000_000)
    #expect(count == 20)
    try client.close()
    try other.value.close()
  }

  @Test(
    "a console echoes received bytes, in packets of the same size or in several",
    arguments: [1, 1000, 32_768, 32_769, 1_000_000])
  func echo(size: Int) throws {
    let client = try Stage().client()
    let domain = try client.lookUp(domain: "guest")
    #expect(domain.name == "guest")
    let call = client.nextCall(Call.domainOpenConsole)
    try client.call(Packets.make(call, OpenConsoleArguments(domain: domain)))
    let run = OutgoingRun()
    let header = PacketHeader(
      procedure: call.procedure, kind: .stream, serial: call.serial, status: .continue)
    run.add(header, position: 0, count: size)
    // The echo of a large packet is received while the rest of the packet is sent.
    var position: UInt64 = 0
    var packets = 0
    while position < UInt64(size) {
      _ = try run.send(to: client.socket)
      guard let header = try client.inflow.header() else { break }
      #expect(header.kind == .stream && header.serial == call.serial)
      packets += 1
      while case let piece = try client.inflow.piece(), !piece.isEmpty {
        #expect(Pattern.matches(piece, at: position))
        position += UInt64(piece.count)
        _ = try run.send(to: client.socket)
      }
    }
    #expect(position == UInt64(size))
    #expect(size > 32_768 || packets == 1)
    try client.close()
  }
}
