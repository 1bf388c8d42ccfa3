// A synthetic daemon in this process, with or without the C relay in front.
import Foundation

@testable import Ends

/// One daemon on a socket of its own, optionally with a relay in front. Both end with it.
final class Stage {
  let place: Place
  private let directory: URL
  private let endpoint: Endpoint
  private let relay: Child?

  init(relayed: Bool = false, volumeBytes: UInt64 = 1 << 30, message: Int? = nil) throws {
    directory = URL(fileURLWithPath: NSTemporaryDirectory())
      .appendingPathComponent("virtbench-test.\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let path = directory.appendingPathComponent("sock").path
    let endpoint = try Endpoint(
      path: path, volumeBytes: volumeBytes, message: message, isChecking: true)
    self.endpoint = endpoint
    try detach { endpoint.run() }
    guard relayed else {
      place = .unix(path: path)
      relay = nil
      return
    }
    let port = String(try Socket.freePort())
    place = .tcp(host: "127.0.0.1", port: port)
    let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("limit-relay")
    relay = try Child(program.path, [port, path])
  }

  deinit {
    relay?.stop()
    endpoint.stop()
    try? FileManager.default.removeItem(at: directory)
  }

  /// A new client. A relay that has just been started gets some time until it listens.
  func client() throws -> Client {
    for _ in 0..<500 {
      if let client = try? Client(to: place) { return client }
      usleep(10_000)
    }
    return try Client(to: place)
  }
}
