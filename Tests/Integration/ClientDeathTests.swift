// A client that dies during an upload: the backend's stream ends, and nothing is left open.
import Foundation
import Streams
import Testing

@Suite("A client that dies", Lab.isPossible)
struct ClientDeathTests {
  /// Only this suite opens connections to this lab, so its descriptors can be counted.
  static func lab() async throws -> Lab { try await .shared(.mono, for: "dying clients") }

  @Test(
    "after the death of 1,000 clients during uploads no descriptor is left open anywhere",
    arguments: Way.allCases)
  func rounds(way: Way) async throws {
    let lab = try await Self.lab()
    let volume = try await TestVolume(in: lab)
    let daemon = try await lab.pid(of: "libvirtd")
    // At this level no lines about single clients are logged: their counts could take more memory than the limit below.
    let broker = try await BrokerProcess.start(
      in: lab, settings: ["log_level = 3", "log_outputs = \"3:stderr\""])
    try await blocking {
      let stay = try broker.client()
      try stay.open()
      // The first rounds fill caches on both sides: thread pools, the loop's tables, spare segments.
      for _ in 0..<20 { try Self.die(way, broker, volume) }
      let before = (
        broker: settledDescriptorCount(of: broker.pid), daemon: settledDescriptorCount(of: daemon),
        bytes: broker.residentBytes
      )
      for _ in 0..<1000 { try Self.die(way, broker, volume) }
      #expect(
        eventually { broker.descriptorCount <= before.broker },
        "\(broker.descriptorCount) descriptors in the broker, \(before.broker) before")
      #expect(
        eventually { descriptorCount(of: daemon) <= before.daemon },
        "\(descriptorCount(of: daemon)) descriptors in libvirtd, \(before.daemon) before")
      // A leak of 256 bytes per round would exceed this.
      #expect(broker.residentBytes - before.bytes < 256 * 1024)
      #expect(try stay.call(59).header.status == .ok)
    }
    try await broker.stop()
  }

  /// A client that starts an upload, sends a part, and disappears.
  static func die(_ way: Way, _ broker: BrokerProcess, _ volume: TestVolume) throws {
    let client = try broker.client(way)
    try client.open()
    let stream = try client.openStream(
      Remote.storageVolUpload, pool: volume.pool, volume: volume.name)
    // A whole packet and the beginning of another.
    let packet = RawClient.packet(stream, [UInt8](repeating: 7, count: 10_000))
    try client.send(packet + packet[..<5000])
    client.vanish()
  }

  @Test(
    "virsh is killed during an upload, and the volume can be used again",
    arguments: Way.allCases)
  func virsh(way: Way) async throws {
    let lab = try await Self.lab()
    let volume = try await TestVolume(in: lab, bytes: 1 << 30)
    let broker = try await BrokerProcess.start(in: lab)
    let uri = broker.uri(way)
    // An endless upload: its source is a pipe that stays open.
    let source = try Scratch.directory("p") + "/source"
    guard mkfifo(source, 0o600) == 0 else { throw Trouble("mkfifo: \(errnoText())") }
    let writer = open(source, O_RDWR | O_CLOEXEC | O_NONBLOCK)
    defer { close(writer) }
    let child = try Child([
      "virsh", "-c", uri, "vol-upload", "--pool", volume.pool, volume.name, source,
    ])
    let data = [UInt8](repeating: 0x5a, count: 65_536)
    #expect(
      eventually {
        _ = write(writer, data, data.count)
        return Self.begins(with: 0x5a, at: volume.path)
      }, "the upload is under way")
    child.end()
    #expect(eventually { broker.log.contains("disconnected") })
    // The daemon has released the volume, otherwise it would refuse another upload.
    let content = try Scratch.directory("p") + "/content"
    try Data(repeating: 0x33, count: 100_000).write(to: URL(fileURLWithPath: content))
    try await virshOutput(uri, "vol-upload", "--pool", volume.pool, volume.name, content)
    #expect(Self.begins(with: 0x33, at: volume.path))
    try await broker.stop()
  }

  private static func begins(with byte: UInt8, at path: String) -> Bool {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    var first: UInt8 = 0
    return read(file, &first, 1) == 1 && first == byte
  }
}
