// Where the driver's clients work: with the synthetic daemon, and with a real one.
import Foundation
import Streams
import Testing

/// The synthetic daemon, whose volumes are named after their content.
struct SyntheticSite: FaultSite {
  let scene: FaultScene
  var isSynthetic: Bool { true }

  func connect(_ dice: inout Dice) throws -> RawClient { try scene.connect(&dice) }
  func kinds(for client: Int) -> [FaultClient.Kind] { FaultClient.Kind.allCases }
  func guest(of client: Int) -> String { "any" }
  func trouble(with content: Content, by client: Int) -> String? { nil }

  func upload(_ content: Content, by client: Int) -> VolumeTransferArguments { arguments(content) }

  func migration(of content: Content, by client: Int) -> (procedure: Int32, arguments: [UInt8]) {
    var writer = XDRWriter()
    NameArguments(name: Agreed.name(content)).encode(into: &writer)
    return (Agreed.prepareTunnel, writer.bytes)
  }

  func download(_ dice: inout Dice) -> (VolumeTransferArguments, Content) {
    let content = Content(seed: dice.next(), count: dice.pick(0...2_000_000))
    return (arguments(content), content)
  }

  private func arguments(_ content: Content) -> VolumeTransferArguments {
    let name = Agreed.name(content)
    return VolumeTransferArguments(
      pool: "pool", name: name, key: name, offset: 0, length: 0, flags: 0)
  }
}

/// A libvirtd with a storage pool and two guests. It gets only the preparation and the traffic of migrations, without
/// another host and without a guest; whole migrations are in MigrationFaultTests.
struct RealSite: FaultSite {
  static let guests = 2
  static let source = Content(seed: 99, count: 4 << 20)

  let scene: FaultScene
  private let lab: Lab
  private let pool = "faults"
  private let directory: String

  init(in lab: Lab, seed: UInt64) async throws {
    self.lab = lab
    directory = try Scratch.directory("v")
    scene = try await FaultScene(backend: lab.socket("qemu"), seed: seed)
    for client in 0..<FaultInjectionTests.clients {
      try makeFile("up-\(client)", Content(seed: 0, count: 0), size: 8 << 20)
    }
    try makeFile("source", Self.source, size: Self.source.count)
    let uri = lab.directURI("storage")
    try await virshOutput(uri, "pool-define-as", pool, "dir", "--target", directory)
    try await virshOutput(uri, "pool-autostart", pool)
    try await virshOutput(uri, "pool-start", pool)
    for guest in 0..<Self.guests { try await lab.startGuest("fault-echo-\(guest)") }
  }

  private func makeFile(_ name: String, _ content: Content, size: Int) throws {
    let path = "\(directory)/\(name)"
    try Data(content.bytes(from: 0, atMost: content.count)).write(to: URL(fileURLWithPath: path))
    guard truncate(path, size) == 0 else { throw Trouble("cannot make \(path): \(errnoText())") }
  }

  var isSynthetic: Bool { false }
  func connect(_ dice: inout Dice) throws -> RawClient { try scene.connect(&dice) }
  func guest(of client: Int) -> String { "fault-echo-\(client)" }

  func kinds(for client: Int) -> [FaultClient.Kind] {
    switch client {
    case ..<Self.guests: [.console, .calls]
    // Each starts a QEMU, and two processors can emulate only a few at a time.
    case Self.guests: [.migration, .calls, .events]
    default: [.calls, .events, .upload, .download]
    }
  }

  /// The call of a source libvirtd, with the cookie without which libvirtd 9.0.0 crashes.
  func migration(of content: Content, by client: Int) -> (procedure: Int32, arguments: [UInt8]) {
    // Another guest each time, because libvirtd may still be cleaning up the last one.
    let number = 100_000_000_000 + content.seed % 100_000_000_000
    let identity =
      "<name>\(Self.incoming)\(number)</name><uuid>7b0f8d3e-91a5-4c27-8e64-\(number)</uuid>"
    let cookie =
      "<qemu-migration>\(identity)<hostname>elsewhere</hostname>"
      + "<hostuuid>11111111-2222-4333-8444-555555555555</hostuuid></qemu-migration>\0"
    let domain =
      "<domain type='qemu'>\(identity)<memory unit='MiB'>16</memory>"
      + "<os><type arch='x86_64'>hvm</type></os></domain>"
    var writer = XDRWriter()
    writer.string(cookie)
    // Live, peer to peer and tunnelled; without another name and without a rate limit.
    writer.uint64(7)
    writer.uint32(0)
    writer.uint64(0)
    writer.string(domain)
    return (Agreed.prepareRealTunnel, writer.bytes)
  }

  private static let incoming = "fault-incoming-"

  /// Guests of migrations that have started.
  func incomingGuests() throws -> [Substring] {
    let uri = lab.directURI("qemu")
    let list = try Command("virsh", "-q", "-c", uri, "list", "--all", "--name").runHere()
    guard list.status == 0 else { throw Trouble("virsh list: \(list.errors)") }
    return list.output.split(separator: "\n").filter { $0.hasPrefix(Self.incoming) }
  }

  func upload(_ content: Content, by client: Int) -> VolumeTransferArguments {
    VolumeTransferArguments(
      pool: pool, name: "up-\(client)", key: "\(directory)/up-\(client)", offset: 0,
      length: UInt64(content.count), flags: 0)
  }

  func download(_ dice: inout Dice) -> (VolumeTransferArguments, Content) {
    let content = Content(seed: Self.source.seed, count: dice.pick(1...Self.source.count))
    return (
      VolumeTransferArguments(
        pool: pool, name: "source", key: "\(directory)/source", offset: 0,
        length: UInt64(content.count), flags: 0), content
    )
  }

  func trouble(with content: Content, by client: Int) -> String? {
    let found = Checksum.ofFile("\(directory)/up-\(client)", atMost: content.count)
    return found == content.checksum
      ? nil : "\(content.checksum) were sent, \(found.map { "\($0)" } ?? "nothing") arrived"
  }

  /// Kills libvirtd and starts it again. It has lost its guests, which are booted again. It may have crashed by
  /// itself: libvirtd 9.0.0 sometimes does when clients disconnect in the middle of operations.
  func restart() throws {
    func lab(_ arguments: String...) throws {
      let result = try Command([Lab.script] + arguments).runHere()
      guard result.status == 0 else { throw Trouble("lab \(arguments): \(result.errors)") }
    }
    let pid = try Command(Lab.script, "pid", self.lab.directory, "libvirtd").runHere().output
    if let number = pid_t(pid.trimmingCharacters(in: .whitespacesAndNewlines)) {
      kill(number, SIGKILL)
      while kill(number, 0) == 0 { usleep(5000) }
    } else {
      print("libvirtd was gone before it was killed")
    }
    try lab("start", self.lab.directory, "libvirtd")
    for guest in 0..<Self.guests { try lab("guest", self.lab.directory, "fault-echo-\(guest)") }
  }

  /// The number of connections that libvirtd has accepted on its main socket.
  func backendConnections() throws -> Int {
    let pid = try Command(Lab.script, "pid", lab.directory, "libvirtd").runHere().output
      .trimmingCharacters(in: .whitespacesAndNewlines)
    let sockets = try String(contentsOfFile: "/proc/\(pid)/net/unix", encoding: .utf8)
    // The state 03 is a connection; 01 is a listener.
    return sockets.split(separator: "\n").count { line in
      let fields = line.split(separator: " ")
      return fields.count == 8 && fields[5] == "03" && fields[7].hasSuffix("/libvirt/libvirt-sock")
    }
  }
}
