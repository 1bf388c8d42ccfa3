// max_clients: clients beyond the limit wait until one leaves.
import Foundation
import Streams
import Testing

@Suite("max_clients")
struct ClientLimitTests {
  @Test("clients beyond the limit wait, over any transport, and are served when one leaves")
  func waiting() async throws {
    // The harness connects once to check that the broker is ready, and disconnects.
    let scene = try await Scene(settings: ["max_clients = 3", "max_anonymous_clients = 3"]) {
      _, _ in false
    }
    let broker = scene.broker
    try await blocking {
      var inside = [try broker.client(.unix), try broker.client(.tcp), try broker.client(.unix)]
      for client in inside { try client.open() }
      let outside = [
        try broker.client(.unix), try broker.client(.tcp), try broker.client(.unix, readOnly: true),
      ]
      for client in outside { try client.send(Packets.make(client.header(Remote.authList))) }
      for client in outside { #expect(client.receiveAll(for: 0.2).isEmpty) }
      // Admitted clients are not affected.
      for client in inside { #expect(try client.call(59).header.status == .ok) }

      func served() -> Int { outside.count { $0.receiveAll(for: 0).count == 1 } }
      for expected in 1...3 {
        inside.removeLast()
        var count = 0
        #expect(
          eventually {
            count += served()
            return count == 1
          }, "leaving makes room for number \(expected)")
        usleep(100_000)
        #expect(served() == 0, "and for no other")
      }
      for client in outside { try client.open() }
    }
    #expect(eventually { broker.log.contains("max_clients (3)") }, "the log names the setting")
    try await scene.end()
  }
}
