// Running one program to its end, with a time limit, and keeping what it said.
import Foundation
import Glibc

/// How a program ended and what it said.
struct CommandResult: Equatable, Sendable {
  /// The exit status; 128 and the signal's number if it died of one.
  var status: Int32
  var output: String
  var errors: String
}

/// One command line.
struct Command: Sendable {
  var arguments: [String]
  var input: String = ""
  var environment: [String: String] = [:]
  /// Longer than anything takes on a busy machine: reaching it means that something hangs.
  var limit: Duration = .seconds(240)

  init(_ arguments: String...) { self.arguments = arguments }
  init(_ arguments: [String]) { self.arguments = arguments }

  /// Runs it to its end. Throws when it cannot be started or is still running at the limit.
  func run() async throws -> CommandResult {
    try await blocking { try runHere() }
  }

  /// Runs it and expects it to succeed; its output.
  @discardableResult
  func output() async throws -> String {
    let result = try await run()
    guard result.status == 0 else {
      throw Trouble(
        "\(arguments.joined(separator: " ")) ended with \(result.status): \(result.errors)")
    }
    return result.output
  }

  /// As `run`, on the calling thread.
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
        // It may end without having read everything; that is its own affair.
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

/// Both ends of a pipe, closed on exec and when let go.
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

  /// The caller closes it.
  func takeReader() -> Int32 {
    defer { reader = -1 }
    return reader
  }

  /// The caller closes it.
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

  /// What is there now, or nothing at the end.
  static func read(_ descriptor: Int32) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = buffer.withUnsafeMutableBytes {
      Glibc.read(descriptor, $0.baseAddress, $0.count)
    }
    return Array(buffer.prefix(max(count, 0)))
  }
}
