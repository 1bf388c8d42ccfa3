// Support for the daemon's tests: temporary directories, and the built program.
import Foundation
import Testing

@testable import virtbrokerd

/// A temporary directory. It is removed with its owner.
final class Scratch {
  let path: String

  init() throws {
    var template = Array("\(NSTemporaryDirectory())/virtbrokerd-XXXXXX".utf8CString)
    path = try template.withUnsafeMutableBufferPointer { room in
      let template = try #require(room.baseAddress)
      let made = try #require(mkdtemp(template))
      return String(cString: made)
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
    return "\(path)/\(name)"
  }

  /// The content of the file; empty if the file does not exist.
  func read(_ name: String) -> String {
    (try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)) ?? ""
  }

  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }

  /// Writes a configuration with which the program uses no path outside of this directory.
  func configuration(_ more: String = "") throws -> String {
    try FileManager.default.createDirectory(
      atPath: "\(path)/backends", withIntermediateDirectories: true)
    return try write(
      "virtbrokerd.conf",
      """
      unix_sock_dir = "\(path)"
      backend_socket_dir = "\(path)/backends"
      log_outputs = "1:file:\(path)/log"
      log_level = 2; auth_unix_rw = "none"; auth_unix_ro = "none"
      \(more)
      """)
  }
}

/// A process started by a test. It is killed with its owner.
final class Program {
  struct Result {
    let status: Int32
    let out: String
    let err: String
  }

  private let process = Process()
  private let scratch: Scratch

  /// The built program. It is in the directory of the test program.
  static let path: String = {
    let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return (tests as NSString).deletingLastPathComponent + "/virtbrokerd"
  }()

  init(
    _ arguments: [String], environment: [String: String] = [:], program: String = Program.path
  ) throws {
    scratch = try Scratch()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    // The logging variables of the test run do not reach the program.
    process.environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"].merging(environment) { $1 }
    // Files, not pipes: the program never waits for a reader, and a daemon left behind by mistake cannot block the
    // test.
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle(forWritingAtPath: try scratch.write("out", ""))
    process.standardError = FileHandle(forWritingAtPath: try scratch.write("err", ""))
    try process.run()
  }

  deinit {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }

  var identifier: pid_t { process.processIdentifier }
  var isRunning: Bool { process.isRunning }
  func signal(_ number: Int32) { kill(process.processIdentifier, number) }

  /// Waits for the exit. After a time limit it kills the program, so that a hanging program fails its test.
  func result() -> Result {
    if !eventually({ !process.isRunning }) { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    let died = process.terminationReason == .uncaughtSignal
    return Result(
      status: died ? -process.terminationStatus : process.terminationStatus,
      out: scratch.read("out"), err: scratch.read("err"))
  }

  static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Result {
    try Program(arguments, environment: environment).result()
  }
}

/// One end of a UNIX socket, over plain system calls.
final class UnixSocket {
  private let descriptor: CInt

  private init(_ descriptor: CInt) { self.descriptor = descriptor }

  convenience init(listeningAt path: String) throws {
    self.init(try UnixSocket.made(path, bind))
    try #require(listen(descriptor, 8) == 0)
  }

  convenience init(connectedTo path: String) throws {
    self.init(try UnixSocket.made(path, connect))
  }

  deinit { close(descriptor) }

  private static func made(
    _ path: String, _ use: (CInt, UnsafePointer<sockaddr>, socklen_t) -> CInt
  ) throws -> CInt {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | 0o2000000, 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    try #require(bytes.count < MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        use(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(result == 0)
    return descriptor
  }

  /// The next connection; nil if none arrives in time.
  func accepted() -> UnixSocket? {
    var events = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&events, 1, 20_000) == 1 else { return nil }
    let connection = accept(descriptor, nil, nil)
    return connection < 0 ? nil : UnixSocket(connection)
  }

  func send(_ bytes: [UInt8]) { _ = write(descriptor, bytes, bytes.count) }

  /// The call CONNECT_OPEN of `qemu:///system`, as a client's first packet.
  static let connectOpen: [UInt8] = {
    let words: [UInt32] = [28 + 28, 0x2000_8086, 1, 1, 0, 1, 0, 1, 14]
    let name = Array("qemu:///system".utf8) + [0, 0]
    let flags: [UInt8] = [0, 0, 0, 0]
    return words.flatMap { withUnsafeBytes(of: $0.bigEndian, Array.init) } + name + flags
  }()
}

/// Waits until `condition` is true. Returns false after a time limit that only a broken program reaches.
func eventually(_ condition: () -> Bool) -> Bool {
  for _ in 0..<2000 {
    if condition() { return true }
    usleep(10_000)
  }
  return condition()
}

/// Reads a file of the project, found from the path of this source file.
func projectFile(_ path: String) throws -> String {
  try String(contentsOfFile: projectPath(path), encoding: .utf8)
}

func projectPath(_ path: String) -> String {
  let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
  return root.appendingPathComponent(path).path
}

extension Configuration {
  /// Parses `text` as the file `conf`.
  static func reading(_ text: String) throws -> (Configuration, [Diagnostic]) {
    read(try ConfigurationFile(name: "conf", bytes: Array(text.utf8)))
  }
}
