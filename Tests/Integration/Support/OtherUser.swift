// Connections from another local user or another address.
import Foundation
import Testing

/// A process that keeps connections to a broker until it is ended.
final class OtherUser: Sendable {
  private let child: Child
  private let input: Int32

  /// Opens `count` connections as user `number` to `place`, in the syntax of `connections.py`. Returns when all are
  /// open.
  init(_ number: Int, _ place: String, count: Int, asks: Bool = false) throws {
    var answers: [Int32] = [-1, -1]
    var inputs: [Int32] = [-1, -1]
    guard pipe(&answers) == 0, pipe(&inputs) == 0 else { throw Trouble("pipe: \(errnoText())") }
    for end in answers + inputs { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    input = inputs[1]
    child = try Child(
      [
        "setpriv", "--reuid", "\(number)", "--regid", "\(number)", "--clear-groups",
        "/usr/bin/python3", "-c",
        try String(contentsOfFile: "\(Lab.folder)/python/connections.py", encoding: .utf8),
        place, "\(count)",
      ] + (asks ? ["ask"] : []), input: inputs[0], output: answers[1])
    close(inputs[0])
    close(answers[1])
    defer { close(answers[0]) }
    // The whole line: a program whose next write finds the pipe closed would end.
    var byte: UInt8 = 0
    while byte != UInt8(ascii: "\n") {
      var item = pollfd(fd: answers[0], events: Int16(POLLIN), revents: 0)
      guard poll(&item, 1, 30_000) == 1, read(answers[0], &byte, 1) == 1 else {
        throw Trouble("user \(number) cannot open \(count) connections to \(place)")
      }
    }
  }

  deinit {
    close(input)
    child.end()
  }
}
