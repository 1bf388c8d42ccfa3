// The backend's disk becomes full during an upload.
import Foundation
import Streams
import Testing

@Suite("A full disk at the backend", Lab.isPossible)
struct FullDiskTests {
  @Test(
    "an upload ends with the backend's own error and is never confirmed", arguments: Way.allCases)
  func upload(way: Way) async throws {
    let lab = try await Lab.shared(.mono, for: "full disks")
    let broker = try await BrokerProcess.start(in: lab)
    let daemon = try await lab.pid(of: "libvirtd")
    // A file system of 4 MiB that only libvirtd sees, and an empty volume of 64 MiB on it.
    let directory = try Scratch.directory("full")
    let pool = URL(fileURLWithPath: directory).lastPathComponent
    let mounts = ["nsenter", "--target", "\(daemon)", "--mount"]
    try await Command(mounts + ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory])
      .output()
    let direct = lab.directURI("storage")
    try await virshOutput(direct, "pool-create-as", pool, "dir", "--target", directory)
    try await virshOutput(
      direct, "vol-create-as", pool, "volume", "64M", "--allocation", "0", "--format", "raw")

    try await blocking {
      let client = try broker.client(way)
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: pool, volume: "volume")
      let packet = RawClient.packet(stream, [UInt8](repeating: 1, count: Limits.usualPayload))
      var failure: RawPacket?
      for _ in 0..<128 where failure == nil {
        try client.send(packet)
        failure = client.receiveAll(for: 0).first { $0.header.kind == .stream }
      }
      // The backend may report the error during the data or only at the finish.
      let end = try failure ?? client.end(stream)
      #expect(end.header.status == .error && end.header.serial == stream.serial)
      #expect(
        end.error?.message?.contains("No space left on device") == true, "the client hears: \(end)")
      #expect(client.receiveAll(for: 0.2).allSatisfy { $0.header.kind != .stream })
      #expect(try client.call(59).header.status == .ok, "the connection goes on")
    }
    // virsh too, to see its message for the user.
    let source = directory + ".source"
    try Data(repeating: 2, count: 16 << 20).write(to: URL(fileURLWithPath: source))
    let result = try await virsh(
      broker.uri(way), ["vol-upload", "--pool", pool, "volume", source])
    #expect(result.status == 1)
    #expect(result.errors.contains("No space left on device"), "virsh says: \(result.errors)")
    // An upload that fits still succeeds.
    try await virshOutput(direct, "vol-delete", "--pool", pool, "volume")
    try await virshOutput(
      direct, "vol-create-as", pool, "small", "1M", "--allocation", "0", "--format", "raw")
    let small = directory + ".small"
    try Data(repeating: 3, count: 1 << 20).write(to: URL(fileURLWithPath: small))
    try await virshOutput(broker.uri(way), "vol-upload", "--pool", pool, "small", small)
    try await broker.stop()
  }
}
