// The files of the tests: one directory below /tmp, removed at the end of the test process.
import Foundation
import Glibc
import Synchronization

/// Directories of tests. Their names are short, because a socket path has at most 107 bytes.
enum Scratch {
  /// This process's own directory.
  static let root: String = {
    let path = "/tmp/vb\(getpid())"
    do {
      try? FileManager.default.removeItem(atPath: path)  // of an earlier process with the same ID
      // The shell's input ends when this process ends, however that happens.
      _ = try Watcher(
        ["sh", "-c", "cat >/dev/null; exec rm -rf \"$0\"", path], environment: ["HOME": path])
      try FileManager.default.createDirectory(
        atPath: path + "/home", withIntermediateDirectories: true)
    } catch {
      preconditionFailure("no directory for the tests: \(error)")
    }
    return path
  }()

  /// An empty home directory.
  static var home: String { root + "/home" }

  private static let counter = Atomic<Int>(0)

  /// Creates a directory.
  static func directory(_ name: String) throws -> String {
    let path = "\(root)/\(name)\(counter.add(1, ordering: .relaxed).newValue)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
  }
}

/// A child that cleans up when its standard input ends, at the latest with the test process.
final class Watcher: Sendable {
  let child: Child
  /// The read end of its standard output.
  let output: Int32
  private let input: Int32

  private static let living = Mutex<[Watcher]>([])
  /// At a normal exit the test process waits for the clean-up and reports its result.
  private static let atExit: Void = {
    _ = atexit {
      let watchers = Watcher.living.withLock { $0 }
      Leftovers.end(sparing: watchers.map(\.child.pid))
      for watcher in watchers { close(watcher.input) }
      for watcher in watchers { _ = watcher.child.wait(limit: .seconds(20)) }
      let left = Leftovers.end(sparing: [])
      guard left.isEmpty else {
        print("the tests left running: \(left.joined(separator: "; "))")
        _exit(1)
      }
    }
  }()

  init(_ arguments: [String], environment: [String: String] = [:]) throws {
    _ = Self.atExit
    let stdin = try Pipe()
    let stdout = try Pipe()
    child = try Child(
      arguments, input: stdin.reader, output: stdout.writer, errors: 2,
      environment: environment, diesWithUs: false)
    input = stdin.takeWriter()
    output = stdout.takeReader()
    Self.living.withLock { $0.append(self) }
  }
}
