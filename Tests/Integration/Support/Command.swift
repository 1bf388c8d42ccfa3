// Runs a program to its end, with a time limit, and returns its output.
import Foundation
import Glibc

/// The exit status and the output of a program.
struct CommandResult: Equatable, Sendable {
  /// The exit status; 128 plus the signal's number if a signal killed it.
  var status: Int32
  var output: String
  var errors: String
}

/// One command line.
struct Command: Sendable {
  var arguments: [String]
  var input: String = ""
  var environment: [String: String] = [:]
  /// Longer than any command takes on a busy machine: reaching it means that the command hangs.
  var limit: Duration = .seconds(240)

  init(_ arguments: String...) { self.arguments = arguments }
  init(_ arguments: [String]) { self.arguments = arguments }

  /// Runs the command to its end. Throws if it cannot be started or exceeds the limit.
  func run() async throws -> CommandResult {
    try await blocking { try runHere() }
  }

  /// Runs the command, which must succeed, and returns its output.
  @discardableResult
  func output() async throws -> String {
    let result = try await run()
    guard result.status == 0 else {
      throw Trouble(
        "\(arguments.joined(separator: " ")) ended with \(result.status): \(result.errors)")
    }
    return result.output
  }

  /// Like `run`, on the calling thread.
  func runHere() throws -> CommandResult {
    let stdin = try Pipe()
    let stdout = try Pipe()
    let stderr = try Pipe()
    let child = try Child(
      arguments, input: stdin.reader, output: stdout.writer, errors: stderr.writer,
      environment: environment)
    stdin.closeReader()
    stdout.closeWriter()
    stderr.closeWriter()
    var waiting = Array(input.utf8)[...]
    var heard: [[UInt8]] = [[], []]
    var open = [true, true]
    let deadline = ContinuousClock.now + limit
    _ = fcntl(stdin.writer, F_SETFL, O_NONBLOCK)
    if waiting.isEmpty { stdin.closeWriter() }

    while open[0] || open[1] {
      let left = ContinuousClock.now.duration(to: deadline)
      guard left > .zero else {
        child.end()
        throw Trouble(
          """
          \(arguments.joined(separator: " ")) did not end within \(limit); so far it said: \
          \(String(decoding: heard[0].suffix(2000), as: UTF8.self)) \
          \(String(decoding: heard[1].suffix(2000), as: UTF8.self))
          """)
      }
      var watched = [
        pollfd(fd: open[0] ? stdout.reader : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: open[1] ? stderr.reader : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: waiting.isEmpty ? -1 : stdin.writer, events: Int16(POLLOUT), revents: 0),
      ]
      let milliseconds = left.components.seconds * 1000 + 1
      guard poll(&watched, 3, Int32(milliseconds)) > 0 else { continue }
      for index in 0..<2 where watched[index].revents != 0 {
        let some = Pipe.read(watched[index].fd)
        heard[index] += some
        open[index] = !some.isEmpty
      }
      if watched[2].revents != 0 {
        let count = waiting.withUnsafeBytes { write(stdin.writer, $0.baseAddress, $0.count) }
        // The program may end without reading all of its input.
        waiting = count > 0 ? waiting.dropFirst(count) : []
        if waiting.isEmpty { stdin.closeWriter() }
      }
    }
    guard let status = child.wait(limit: ContinuousClock.now.duration(to: deadline)) else {
      throw Trouble("\(arguments.joined(separator: " ")) closed its output and went on running")
    }
    return CommandResult(
      status: status, output: String(decoding: heard[0], as: UTF8.self),
      errors: String(decoding: heard[1], as: UTF8.self))
  }
}

/// Both ends of a pipe, closed on exec and on release.
final class Pipe {
  private(set) var reader: Int32 = -1
  private(set) var writer: Int32 = -1

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw Trouble("cannot make a pipe: \(String(cString: strerror(errno)))")
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    (reader, writer) = (ends[0], ends[1])
  }

  deinit {
    closeReader()
    closeWriter()
  }

  /// Hands over the read end; the caller closes it.
  func takeReader() -> Int32 {
    defer { reader = -1 }
    return reader
  }

  /// Hands over the write end; the caller closes it.
  func takeWriter() -> Int32 {
    defer { writer = -1 }
    return writer
  }

  func closeReader() {
    if reader >= 0 { close(reader) }
    reader = -1
  }

  func closeWriter() {
    if writer >= 0 { close(writer) }
    writer = -1
  }

  /// The available bytes; empty at the end.
  static func read(_ descriptor: Int32) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = buffer.withUnsafeMutableBytes {
      Glibc.read(descriptor, $0.baseAddress, $0.count)
    }
    return Array(buffer.prefix(max(count, 0)))
  }
}
