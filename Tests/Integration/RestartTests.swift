// A backend that is killed and started again under clients that are kept.
import Foundation
import Streams
import Testing

@Suite("A restarted backend", .serialized, Lab.isPossible)
struct RestartTests {
  @Test(
    "under python-libvirt no connection is closed and no reading call fails; changes and streams say that their outcome is unknown"
  )
  func clients() async throws {
    let lab = try await Lab.shared(.mono, for: "restarting")
    let tls = try await TLSBroker(backends: lab.sockets)
    let broker = tls.broker
    let rounds = ProcessInfo.processInfo.environment["VIRTBROKER_LONG"] == nil ? 5 : 100
    let said = try await python(
      "restarts.py",
      [
        Lab.script, lab.directory, "\(rounds)", broker.unixURI(), broker.tcpURI(), tls.uri,
      ], limit: .seconds(60 + 6 * rounds))
    #expect(said == "\(rounds) rounds, outcome unknown: True\n")
    #expect(broker.log.contains("VB-UPS-028"))
    try await broker.stop()
  }

  @Test(
    "clients that follow life cycles miss nothing, whatever happened while the daemon was away, and each event follows from what was before"
  )
  func events() async throws {
    let lab = try await Lab.shared(.mono, for: "missing")
    let tls = try await TLSBroker(backends: lab.sockets)
    let broker = tls.broker
    let rounds = ProcessInfo.processInfo.environment["VIRTBROKER_LONG"] == nil ? 6 : 100
    let said = try await python(
      "missed.py",
      [
        Lab.script, lab.directory, "\(rounds)", broker.unixURI(), broker.tcpURI(), tls.uri,
      ], limit: .seconds(60 + 10 * rounds))
    #expect(said == "\(rounds) rounds\n")
    try await broker.stop()
  }

  @Test(
    "calls wait for the daemon, PINGs are answered meanwhile, and the client reaches the same daemon again",
    arguments: Way.allCases)
  func waiting(way: Way) async throws {
    let lab = try await Lab.shared(.mono, for: "restarting")
    let broker = try await BrokerProcess.start(in: lab)
    let client = try await blocking {
      let client = try broker.client(way)
      try client.open()
      return client
    }
    try await lab.kill("libvirtd")
    let call = try await blocking {
      let call = client.header(59)
      try client.send(Packets.make(call))
      try client.send(Packets.keepAlive(KeepAliveProcedure.ping))
      let pong = try client.receive("the answer to a PING") { $0.header.kind == .message }
      #expect(pong.header.procedure == KeepAliveProcedure.pong)
      return call
    }
    try await lab.start("libvirtd")
    try await blocking {
      let reply = try client.receive(within: 5, "the answer of the new daemon") {
        $0.answers(call.serial)
      }
      #expect(reply.header.status == .ok)
    }
    try await broker.stop()
  }

  @Test(
    "a daemon that does not come back in time fails the waiting calls, then the connection ends",
    arguments: Way.allCases)
  func tooLate(way: Way) async throws {
    let lab = try await Lab.shared(.mono, for: "restarting")
    let broker = try await BrokerProcess.start(
      in: lab, settings: ["upstream_reconnect_seconds = 1"])
    let client = try await blocking {
      let client = try broker.client(way)
      try client.open()
      return client
    }
    try await lab.kill("libvirtd")
    try await blocking {
      let reply = try client.call(59, within: 5)
      #expect(reply.error?.message?.contains("libvirtd") == true, "\(reply)")
      #expect(try client.awaitEnd(within: 2).isEmpty)
      // A new client does not wait.
      let late = try broker.client(way)
      try late.call(Remote.authList)
      let refusal = try late.call(
        Remote.connectOpen, ConnectOpenArguments(name: "qemu:///system", flags: 0), within: 1)
      #expect(refusal.error?.message?.contains("libvirt-sock") == true)
    }
    try await lab.start("libvirtd")
    try await broker.stop()
  }

  @Test("200 clients of one daemon are all back within 5 s, and the log speaks of them once")
  func many() async throws {
    let lab = try await Lab.shared(.mono, for: "restarting")
    let broker = try await BrokerProcess.start(in: lab)
    let clients = try await blocking {
      try (0..<200).map { _ in
        let client = try broker.client(.unix)
        try client.open()
        return client
      }
    }
    try await lab.kill("libvirtd")
    try await lab.start("libvirtd")
    try await blocking {
      let start = Date()
      let calls = try clients.map { client in
        let call = client.header(59)
        try client.send(Packets.make(call))
        return call
      }
      for (client, call) in zip(clients, calls) {
        let reply = try client.receive(within: 5, "a reply") { $0.answers(call.serial) }
        #expect(reply.header.status == .ok)
      }
      #expect(Date().timeIntervalSince(start) < 5)
      #expect(eventually { broker.logs("VB-UPS-028", "200 of 200") }, "\(broker.log)")
    }
    #expect(broker.log.components(separatedBy: "VB-UPS-027").count == 2)
    try await broker.stop()
  }

  @Test(
    "with modular daemons each daemon of a client comes back by itself",
    arguments: ["virtqemud", "virtstoraged"])
  func modular(daemon: String) async throws {
    let lab = try await Lab.shared(.modular, for: "restarting")
    let broker = try await BrokerProcess.start(in: lab)
    // For virtqemud, virtstoraged and virtnetworkd.
    let calls: [Int32] = [59, 71, 52]
    let client = try await blocking {
      let client = try broker.client(.unix)
      try client.open()
      for call in calls { #expect(try client.call(call).header.status == .ok) }
      return client
    }
    try await lab.kill(daemon)
    let waiting = try await blocking {
      for call in calls where (call == 71) != (daemon == "virtstoraged") && call != 59 {
        #expect(try client.call(call).header.status == .ok, "\(call) is still served")
      }
      let call = client.header(daemon == "virtstoraged" ? 71 : 59)
      try client.send(Packets.make(call))
      return call
    }
    try await lab.start(daemon)
    try await blocking {
      let reply = try client.receive(within: 5, "a reply") { $0.answers(waiting.serial) }
      #expect(reply.header.status == .ok)
      for call in calls { #expect(try client.call(call).header.status == .ok) }
    }
    try await broker.stop()
  }
}
