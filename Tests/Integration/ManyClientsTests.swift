// Two thousand concurrent clients.
import Foundation
import Streams
import Testing

@Suite("Many clients", Lab.isPossible)
struct ManyClientsTests {
  @Test(
    "2,000 clients are connected and served concurrently, and leave no descriptor or memory behind")
  func crowd() async throws {
    let lab = try await Lab.shared(.mono)
    let daemon = try await lab.pid(of: "libvirtd")
    let broker = try await BrokerProcess.start(in: lab, settings: ["max_clients = 2000"])
    try await Self.allowDescriptors(of: daemon)
    try await blocking {
      let last = try broker.client()
      try last.open()
      let before = (settledDescriptorCount(of: broker.pid), broker.residentBytes)

      var clients: [RawClient] = []
      for number in 0..<1999 {
        let client = try broker.client(number % 2 == 0 ? .unix : .tcp)
        try client.open()
        clients.append(client)
      }
      #expect(
        broker.descriptorCount == before.0 + 2 * 1999, "a socket to each side for each client")
      // An idle connection owns no buffer, only a few small objects of its session.
      let each = (broker.residentBytes - before.1) / 1999
      #expect(each <= 8192, "\(each) bytes resident for an idle client")

      // First all calls, then all replies.
      var calls: [PacketHeader] = []
      for client in clients {
        calls.append(client.header(157))
        try client.send(Packets.make(calls[calls.count - 1]))
      }
      for (client, call) in zip(clients, calls) {
        let reply = try client.receive("the reply") { $0.answers(call.serial) }
        #expect(reply.header.status == .ok)
      }
      clients = []
      #expect(eventually { broker.descriptorCount == before.0 }, "all descriptors are given back")
      #expect(try last.call(157).header.status == .ok)
    }
    try await broker.stop()
  }

  /// Raises the limits on descriptors of this process and of the daemon.
  static func allowDescriptors(of daemon: pid_t) async throws {
    for process in [getpid(), daemon] {
      let limit = try await Command(
        "prlimit", "--pid", "\(process)", "--nofile", "--noheadings", "--output", "HARD"
      ).output().trimmingCharacters(in: .whitespacesAndNewlines)
      guard limit == "unlimited" || Int(limit) ?? 0 >= 8192 else {
        throw Trouble("8192 open files are needed, \(limit) are allowed")
      }
      try await Command("prlimit", "--pid", "\(process)", "--nofile=\(limit)").output()
    }
  }
}
