// The process is at its limit of descriptors: new connections wait, and the broker does not spin.
import Foundation
import Streams
import Testing

@Suite("The descriptor limit", .inTurn)
struct DescriptorLimitTests {
  @Test("further clients wait until one leaves, and the broker does not retry meanwhile")
  func waiting() async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    // The broker has now opened the descriptors that it opens only once.
    try await blocking { try broker.client().open() }
    _ = try await blocking { settledDescriptorCount(of: broker.pid) }
    let numbers = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(broker.pid)/fd")
      .compactMap { Int($0) }
    let limit = (numbers.max() ?? 0) + 5
    let room = limit - numbers.count
    try await Command("prlimit", "--pid", "\(broker.pid)", "--nofile=\(limit):\(limit)").output()
    try await blocking {
      var clients = try (0..<room + 8).map { _ in try broker.client() }
      for client in clients { try client.send(Packets.make(client.header(Remote.authList))) }
      var served: [Int] = []
      #expect(
        eventually {
          served += clients.indices.filter { clients[$0].receiveAll(for: 0).count == 1 }
          return served.count == room
        })
      #expect(clients[room...].allSatisfy { $0.receiveAll(for: 0.2).isEmpty })
      func refusals() -> Int { broker.log.components(separatedBy: "VB-LIM-008").count - 1 }
      #expect(eventually { refusals() > 0 })
      #expect(refusals() <= 2, "\(broker.log)")
      // Each client that leaves makes space for another.
      for number in 1...8 {
        clients.removeFirst()
        #expect(try clients[room - 1].receive()?.header.status == .ok, "number \(number)")
      }
    }
    try await scene.end()
  }
}
