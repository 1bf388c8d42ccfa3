// A daemon that neither answers nor dies: clients of other daemons are not affected, and the log names the call.
import Foundation
import Streams
import Testing

@Suite("A hanging backend")
struct HangingBackendTests {
  /// The log lines about calls without a reply.
  static func slowCallLines(_ broker: BrokerProcess) -> [Substring] {
    broker.log.split(separator: "\n").filter { $0.contains("VB-UPS-021") }
  }

  @Test(
    "a slow call is logged once, with client, daemon and procedure, and other calls continue",
    arguments: Way.allCases)
  func oneCall(way: Way) async throws {
    let hostname: Int32 = 59
    let perform: Int32 = 305
    let held = Held()
    let scene = try await Scene(settings: ["slow_call_seconds = 1"], held: held) { line, call in
      [hostname, perform].contains(call.header.procedure) && held.keep(line, call)
    }
    let broker = scene.broker
    try await blocking {
      let (client, other) = (try broker.client(way), try broker.client(way))
      for client in [client, other] { try client.open() }
      let hanging = client.header(hostname)
      try client.send(Packets.make(hanging))
      try held.await(1)
      // Both clients can make other calls, also on the same connection, and answered calls are not logged.
      let end = Date(timeIntervalSinceNow: 0.5)
      while Date() < end {
        for client in [client, other] { #expect(try client.call(157).header.status == .ok) }
      }
      #expect(eventually { !Self.slowCallLines(broker).isEmpty })
      let lengthy = client.header(perform)
      try client.send(Packets.make(lengthy))
      try held.await(2)
      #expect(eventually { Self.slowCallLines(broker).count == 2 })
      // Long enough for a second line about either call.
      usleep(1_500_000)
      let lines = Self.slowCallLines(broker)
      #expect(lines.count == 2, "\(lines)")
      for word in [
        "warning", "client ", "CONNECT_GET_HOSTNAME", "procedure 59", "1 s", "libvirtd",
      ] {
        #expect(lines.first?.contains(word) == true, "\(word) is in: \(lines)")
      }
      #expect(
        lines.last?.contains("DOMAIN_MIGRATE_PERFORM3_PARAMS") == true
          && lines.last?.contains("warning") == false, "that may take long: \(lines)")
      // The late replies still arrive.
      for call in [hanging, lengthy] {
        try held.answer()
        _ = try client.receive("the late reply") { $0.answers(call.serial) }
      }
    }
    try await scene.end()
  }

  @Test("with slow_call_seconds = 0 nothing is logged")
  func off() async throws {
    let scene = try await Scene.holding(settings: ["slow_call_seconds = 0"])
    let broker = scene.broker
    try await blocking {
      let client = try broker.client()
      try client.open()
      try client.send(Packets.make(client.header(59)))
      try scene.held.await(1)
      usleep(1_000_000)
      #expect(Self.slowCallLines(broker).isEmpty)
    }
    // The call is still under way and does not prevent the broker from stopping.
    try await scene.end()
  }

  @Test(
    "with one modular daemon stopped, calls to the others continue, also from the same client",
    Lab.isPossible, .serialized, arguments: Way.allCases)
  func modular(way: Way) async throws {
    let lab = try await Lab.shared(.modular, for: "hanging")
    let broker = try await BrokerProcess.start(in: lab, settings: ["slow_call_seconds = 1"])
    let daemon = try await lab.pid(of: "virtstoraged")
    let (networks, pools): (Int32, Int32) = (52, 71)
    try await blocking {
      defer { kill(daemon, SIGCONT) }
      let (client, other) = (try broker.client(way), try broker.client(.unix))
      for client in [client, other] { try client.open() }
      #expect(try client.call(pools).header.status == .ok)
      kill(daemon, SIGSTOP)
      let hanging = client.header(pools)
      try client.send(Packets.make(hanging))
      let end = Date(timeIntervalSinceNow: 2.5)
      while Date() < end {
        for client in [client, other] {
          for procedure in [59, networks] {
            #expect(try client.call(procedure, within: 5).header.status == .ok)
          }
        }
      }
      #expect(client.aside.isEmpty, "the call hangs")
      #expect(eventually { Self.slowCallLines(broker).count == 1 })
      #expect(Self.slowCallLines(broker).first?.contains("virtstoraged") == true)
      kill(daemon, SIGCONT)
      let reply = try client.receive("the late reply") { $0.answers(hanging.serial) }
      #expect(reply.header.status == .ok)
    }
    try await broker.stop()
  }
}
