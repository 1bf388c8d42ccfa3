// The built virtbrokerd, started as an administrator would: with a configuration file, as a process.
import Foundation
import Glibc
import Synchronization
import Testing

/// A broker in front of a lab or of any directory with backends' sockets.
final class BrokerProcess: Sendable {
  /// The directory of its configuration file, log and sockets.
  let directory: String
  let port: Int
  private let child: Child
  private let hasPort: Bool
  /// Whether its UNIX sockets are in `directory` with their default names.
  private let hasUsualSocket: Bool
  /// Whether its log has the connections of clients.
  private let hasUsualLog: Bool

  var pid: pid_t { child.pid }
  var isRunning: Bool { child.isRunning }
  /// Its log so far.
  var log: String { (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? "" }

  /// Whether one line of the log contains all of these: an identifier and arguments of the message.
  func logs(_ parts: String...) -> Bool {
    log.split(separator: "\n").contains { line in parts.allSatisfy { line.contains($0) } }
  }

  /// Starts a broker and waits until it serves its sockets. `settings` are further lines of its configuration; a line
  /// for a key that is set here replaces it. `within` is a command that runs the broker's command line elsewhere,
  /// such as in another namespace.
  static func start(
    backends: String, settings: [String] = [], environment: [String: String] = [:],
    within words: [String] = []
  ) async throws -> BrokerProcess {
    // Another process can take a free port before the broker binds it; then another port is tried.
    for _ in 0..<4 {
      let broker = try BrokerProcess(backends, settings, environment, words)
      if try await blocking({ broker.becomesReady() }) { return broker }
      if !broker.log.contains("Address already in use") {
        throw Trouble("virtbrokerd did not start; it said: \(broker.log) \(broker.said)")
      }
    }
    throw Trouble("virtbrokerd found no free port")
  }

  static func start(in front: Lab, settings: [String] = []) async throws -> BrokerProcess {
    try await start(backends: front.sockets, settings: settings)
  }

  private init(
    _ backends: String, _ settings: [String], _ environment: [String: String], _ words: [String]
  ) throws {
    directory = try Scratch.directory("b")
    port = try Self.freePort()
    var lines = [
      "unix_sock_dir = \"\(directory)\"",
      "backend_socket_dir = \"\(backends)\"",
      "auth_unix_rw = \"none\"",
      "auth_unix_ro = \"none\"",
      "listen_tcp = 1",
      "listen_addr = \"127.0.0.1\"",
      "tcp_port = \"\(port)\"",
      "auth_tcp = \"none\"",
      "log_level = 2",
      "log_outputs = \"2:file:\(directory)/log\"",
    ]
    func key(_ line: String) -> Substring { line.prefix { $0 != " " && $0 != "=" } }
    let replaced = Set(settings.map(key))
    // A test with its own TCP settings must wait for its listeners itself.
    hasPort = replaced.isDisjoint(with: ["listen_tcp", "listen_addr", "tcp_port"])
    hasUsualSocket = !replaced.contains("unix_sock_dir")
    hasUsualLog = replaced.isDisjoint(with: ["log_level", "log_filters", "log_outputs"])
    lines.removeAll { replaced.contains(key($0)) }
    try (lines + settings).joined(separator: "\n").appending("\n")
      .write(toFile: directory + "/virtbrokerd.conf", atomically: false, encoding: .utf8)
    let output = open(directory + "/output", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(output) }
    child = try Child(
      words + [
        Self.executable, "-f", directory + "/virtbrokerd.conf", "-p", directory + "/pid",
      ], output: output, errors: output, environment: environment)
  }

  /// Its output on standard output and standard error.
  private var said: String {
    (try? String(contentsOfFile: directory + "/output", encoding: .utf8)) ?? ""
  }

  /// Waits until the broker serves. It blocks the thread, because tests that compute may leave no other thread to
  /// poll.
  private func becomesReady() -> Bool {
    // The connections of this check count as clients until the broker has closed them.
    var probes = 0
    let isReady = eventually {
      guard isRunning else { return true }
      // The admin socket is created last.
      let isComplete =
        FileManager.default.fileExists(atPath: directory + "/libvirt-admin-sock")
        || log.contains(" is ready")
      guard isComplete else { return false }
      if hasUsualSocket {
        guard Self.accepts(unix: directory + "/libvirt-sock") else { return false }
        probes += 1
      }
      if hasPort {
        guard Self.accepts(tcp: port) else { return false }
        probes += 1
      }
      return true
    }
    guard isReady, isRunning else { return false }
    let expected = hasUsualLog ? probes : 0
    return eventually { log.components(separatedBy: " disconnected: ").count > expected }
  }

  /// Stops the broker by SIGTERM, as a service manager would, and expects a clean exit.
  func stop(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    guard isRunning else {
      Issue.record("virtbrokerd ended by itself: \(said)", sourceLocation: sourceLocation)
      return
    }
    child.signal(SIGTERM)
    let status = try await blocking { [child] in child.wait(limit: .seconds(20)) }
    #expect(status == 0, "SIGTERM is an orderly end: \(log)", sourceLocation: sourceLocation)
    child.end()
  }

  /// Waits until the process has ended. Returns its exit status; nil if it still runs.
  func awaitEnd(limit: Duration = .seconds(20)) async throws -> Int32? {
    try await blocking { [child] in child.wait(limit: limit) }
  }

  func signal(_ number: Int32) { child.signal(number) }

  // MARK: Ways to it

  /// The URI of a client on the UNIX socket.
  func unixURI(_ scheme: String = "qemu", path: String = "/system", readOnly: Bool = false)
    -> String
  {
    "\(scheme)+unix://\(path)?socket=\(directory)/libvirt-sock\(readOnly ? "-ro" : "")"
  }

  /// The URI of a client over TCP.
  func tcpURI(_ scheme: String = "qemu", path: String = "/system") -> String {
    "\(scheme)+tcp://127.0.0.1:\(port)\(path)"
  }

  func uri(_ way: Way) -> String { way == .unix ? unixURI() : tcpURI() }

  // MARK: What it costs

  /// Resident memory, in bytes.
  var residentBytes: Int {
    let pages = statistic("statm").split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * sysconf(Int32(_SC_PAGESIZE))
  }

  /// Open descriptors.
  var descriptorCount: Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
  }

  /// Processor time used so far, in seconds.
  var processorSeconds: Double {
    let fields = statistic("stat").split(separator: ")").last?.split(separator: " ") ?? []
    let ticks = fields.dropFirst(11).prefix(2).compactMap { Double($0) }.reduce(0, +)
    return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  private func statistic(_ name: String) -> String {
    (try? String(contentsOfFile: "/proc/\(pid)/\(name)", encoding: .utf8)) ?? ""
  }

  // MARK: Parts

  /// The program built together with these tests, or the one that VIRTBROKERD names.
  static let executable: String = {
    if let other = ProcessInfo.processInfo.environment["VIRTBROKERD"] { return other }
    let bundle =
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: bundle).deletingLastPathComponent().path + "/virtbrokerd"
  }()

  /// A port that is free at present.
  static func freePort() throws -> Int {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutableBytes(of: &address) { bytes in
      let pointer = bytes.assumingMemoryBound(to: sockaddr.self).baseAddress
      return bind(socket, pointer, length) == 0 && getsockname(socket, pointer, &length) == 0
    }
    guard bound else { throw Trouble("no free port: \(String(cString: strerror(errno)))") }
    return Int(UInt16(bigEndian: address.sin_port))
  }

  /// Whether a port of 127.0.0.1 accepts connections.
  static func accepts(tcp port: Int) -> Bool {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafeBytes(of: &address) {
      connect(
        socket, $0.assumingMemoryBound(to: sockaddr.self).baseAddress,
        socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }

  /// Whether a UNIX socket accepts connections.
  static func accepts(unix path: String) -> Bool {
    let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    defer { close(socket) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafeBytes(of: &address) {
      connect(
        socket, $0.assumingMemoryBound(to: sockaddr.self).baseAddress,
        socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
    }
  }
}
