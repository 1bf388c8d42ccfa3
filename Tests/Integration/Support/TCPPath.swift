// A connection from the tests' network to a lab's.
import Foundation

/// A TCP port of 127.0.0.1 that forwards connections to a port of 127.0.0.1 in a lab's network.
final class TCPPath: Sendable {
  let port: Int
  private let child: Child

  init(into lab: Lab, port inside: Int) async throws {
    let first = try await Command(Lab.script, "pid", lab.directory).output()
      .trimmingCharacters(in: .whitespacesAndNewlines)
    let port = try BrokerProcess.freePort()
    self.port = port
    child = try Child([
      "socat", "TCP-LISTEN:\(port),bind=127.0.0.1,reuseaddr,fork",
      "EXEC:nsenter --net=/proc/\(first)/ns/net socat - TCP\\:127.0.0.1\\:\(inside)",
    ])
    guard try await blocking({ eventually { BrokerProcess.accepts(tcp: port) } }) else {
      throw Trouble("socat does not listen on port \(port)")
    }
  }
}
