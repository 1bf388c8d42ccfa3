// A real libvirtd in directories and namespaces of its own, with volumes to transfer.
import Ends
import Foundation

/// The repository's lab of libvirt daemons, in its layout with a single libvirtd. It ends with this process in any
/// case, because it waits for the end of its standard input.
final class Lab: @unchecked Sendable {
  let socket: String
  /// The libvirtd process.
  let daemon: pid_t
  /// The port of libvirtd's TCP listener, inside the lab's network.
  let port = "16509"
  let volumes: LabVolumes
  private let process: Process
  private let input: Pipe

  /// Starts the lab by `script` in `directory`, with volumes of `volumeBytes` bytes.
  init(script: String, directory: URL, volumeBytes: Int) throws {
    guard let script = Program.executable(script) else {
      throw EndFailure("there is no program at \(script) (--lab)")
    }
    guard getuid() == 0 else { throw EndFailure("a private libvirtd needs root, for namespaces") }
    for name in ["libvirtd", "virsh", "nsenter"] where Program.find(name) == nil {
      throw EndFailure("\(name) is not installed")
    }
    volumes = try LabVolumes(bytes: volumeBytes, otherwise: directory)
    do {
      (process, input) = try Self.start(script, directory, port: port)
    } catch {
      volumes.remove()
      throw error
    }
    socket = directory.appendingPathComponent("sock/libvirt-sock").path
    do {
      let said = try Program.run(script, ["pid", directory.path, "libvirtd"])
      guard let number = pid_t(said.trimmingCharacters(in: .whitespacesAndNewlines)) else {
        throw EndFailure("the lab does not know libvirtd's process: \(said)")
      }
      daemon = number
      _ = try Program.run(
        "/usr/bin/env",
        [
          "virsh", "-q", "-c", "qemu:///system?socket=\(socket)", "pool-create-as",
          LabVolumes.pool, "dir", "--target", volumes.directory.path,
        ])
    } catch {
      Self.end(process, input)
      volumes.remove()
      throw error
    }
  }

  func stop() {
    Self.end(process, input)
    volumes.remove()
  }

  private static func start(_ script: String, _ directory: URL, port: String) throws
    -> (Process, Pipe)
  {
    let (process, input, output) = (Process(), Pipe(), Pipe())
    let log = directory.deletingLastPathComponent().appendingPathComponent("lab.output")
    try Data().write(to: log)
    process.executableURL = URL(fileURLWithPath: script)
    process.arguments = ["hold", directory.path, "mono"]
    process.environment = ProcessInfo.processInfo.environment.merging(["LAB_TCP_PORT": port]) {
      $1
    }
    process.standardInput = input
    process.standardOutput = output
    process.standardError = try FileHandle(forWritingTo: log)
    // Another program that inherited this descriptor would keep the lab alive.
    _ = fcntl(input.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
    try process.run()
    var said = Data()
    while !said.contains(UInt8(ascii: "\n")) {
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { break }
      said += more
    }
    guard said == Data("ready\n".utf8) else {
      end(process, input)
      let trouble = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
      throw EndFailure(
        "the lab did not start: \(trouble.trimmingCharacters(in: .whitespacesAndNewlines))")
    }
    return (process, input)
  }

  private static func end(_ process: Process, _ input: Pipe) {
    try? input.fileHandleForWriting.close()
    for _ in 0..<1500 where process.isRunning { usleep(10_000) }
    if process.isRunning { process.terminate() }
  }
}

/// Two volumes of one size in a directory pool: a full one to read and one to overwrite.
struct LabVolumes: Sendable {
  static let pool = "bench"
  static let sourceName = "source.raw"
  static let targetName = "target.raw"
  let directory: URL
  let bytes: Int
  var source: URL { directory.appendingPathComponent(Self.sourceName) }
  var target: URL { directory.appendingPathComponent(Self.targetName) }

  /// In memory if there is enough, so that no disk is measured; otherwise below `otherwise`.
  init(bytes: Int, otherwise: URL) throws {
    self.bytes = bytes
    let memory = URL(fileURLWithPath: "/dev/shm")
    let parent = Self.room(memory) > 2 * bytes + 256 << 20 ? memory : otherwise
    directory = parent.appendingPathComponent("virtbench.\(getpid()).pool")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    do {
      try fill()
    } catch {
      remove()
      throw error
    }
  }

  /// No block is all zeros and no two are equal, so that nothing is sparse.
  private func fill() throws {
    var random = SystemRandomNumberGenerator()
    var block = [UInt64](repeating: 0, count: 1 << 17)
    for index in block.indices { block[index] = random.next() | 1 }
    for url in [source, target] {
      guard FileManager.default.createFile(atPath: url.path, contents: nil) else {
        throw EndFailure("cannot create \(url.path)")
      }
      let file = try FileHandle(forWritingTo: url)
      defer { try? file.close() }
      var left = bytes
      while left > 0 {
        block[0] = UInt64(left)
        let count = min(left, block.count * 8)
        try block.withUnsafeBytes { try file.write(contentsOf: Data($0.prefix(count))) }
        left -= count
      }
    }
  }

  /// Changes a byte in each 64 KiB of the target, so that only an upload restores it.
  func spoilTarget() throws {
    try mapped(target, PROT_READ | PROT_WRITE) { room in
      for offset in stride(from: 0, to: room.count, by: 65536) { room[offset] ^= 0xff }
    }
  }

  /// Fails if the target differs from the uploaded volume, because a relay that loses bytes is not fast.
  func compareTarget() throws {
    try mapped(source, PROT_READ) { sent in
      try mapped(target, PROT_READ) { arrived in
        guard let sentStart = sent.baseAddress, let arrivedStart = arrived.baseAddress,
          sent.count == arrived.count, memcmp(sentStart, arrivedStart, sent.count) == 0
        else { throw EndFailure("the uploaded volume differs from what was sent") }
      }
    }
  }

  func remove() { try? FileManager.default.removeItem(at: directory) }

  private func mapped(
    _ url: URL, _ protection: Int32, _ body: (UnsafeMutableRawBufferPointer) throws -> Void
  ) throws {
    let descriptor = open(url.path, protection == PROT_READ ? O_RDONLY : O_RDWR)
    guard descriptor >= 0 else { throw EndFailure("cannot open \(url.path)") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_size == bytes,
      let start = mmap(nil, bytes, protection, MAP_SHARED, descriptor, 0), start != MAP_FAILED
    else { throw EndFailure("\(url.path) is not a file of \(bytes) bytes any more") }
    defer { munmap(start, bytes) }
    try body(UnsafeMutableRawBufferPointer(start: start, count: bytes))
  }

  /// Free bytes of a file system.
  private static func room(_ url: URL) -> Int {
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: url.path)
    return (attributes?[.systemFreeSize] as? NSNumber)?.intValue ?? 0
  }
}
