// Where the tests keep their files: one directory below /tmp, gone when the test process is.
import Foundation
import Glibc
import Synchronization

/// Directories of the tests. Their names are short because socket paths have 107 bytes at most.
enum Scratch {
  /// This process's own directory.
  static let root: String = {
    let path = "/tmp/vb\(getpid())"
    do {
      try? FileManager.default.removeItem(atPath: path)  // of a process that had this number before
      // What the shell reads ends when this process does, however it does.
      _ = try Watcher(
        ["sh", "-c", "cat >/dev/null; exec rm -rf \"$0\"", path], environment: ["HOME": path])
      try FileManager.default.createDirectory(
        atPath: path + "/home", withIntermediateDirectories: true)
    } catch {
      preconditionFailure("no directory for the tests: \(error)")
    }
    return path
  }()

  /// A home directory without anything in it.
  static var home: String { root + "/home" }

  private static let counter = Atomic<Int>(0)

  /// A new directory.
  static func directory(_ name: String) throws -> String {
    let path = "\(root)/\(name)\(counter.add(1, ordering: .relaxed).newValue)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
  }
}

/// A child that cleans up once its standard input ends, which it does with the test process at the latest.
final class Watcher: Sendable {
  let child: Child
  /// What it says on standard output.
  let output: Int32
  private let input: Int32

  private static let living = Mutex<[Watcher]>([])
  /// At an orderly exit the clean-up is waited for and looked at.
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
