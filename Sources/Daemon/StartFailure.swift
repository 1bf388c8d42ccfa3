// Why the daemon did not start, and the exit status that says so.
import Glibc
import Streams

/// The stage at which a start failed. The numbers are virtproxyd's exit statuses, on which scripts rely.
enum Stage: Int32, Sendable, Comparable {
  /// Command line, configuration and logging, and the pid file: they share a number in libvirt.
  case configuration = 1
  case runtimeDirectory = 2
  case initialisation = 3
  case privileges = 5
  case network = 6
  case audit = 10

  var name: String {
    switch self {
    case .configuration: "configuration"
    case .runtimeDirectory: "runtime directory"
    case .initialisation: "initialisation"
    case .privileges: "privileges"
    case .network: "network"
    case .audit: "audit"
    }
  }

  static func < (a: Stage, b: Stage) -> Bool { a.rawValue < b.rawValue }
}

/// Why the daemon does not start: mostly one message, and the stage whose number is the exit status.
struct StartFailure: Error, Equatable, CustomStringConvertible {
  let stage: Stage
  /// A configuration file can be wrong in several places at once.
  let messages: [Message]
  var sentences: [String] { messages.map(\.line) }

  var description: String { messages.map(\.text).joined(separator: "; ") }

  init(_ stage: Stage, _ messages: [Message]) {
    self.stage = stage
    self.messages = messages
  }

  init(
    _ stage: Stage, _ definition: MessageDefinition,
    _ arguments: [any CustomStringConvertible] = []
  ) { self.init(stage, [Message(definition, arguments)]) }
}

extension StartFailure {
  /// Writes the failure to standard error for the program's starter, who may not see the log. Gives up if standard
  /// error does not accept a line within a second: a failed start must end.
  func tellAtStandardError() {
    let program = CommandLine.arguments.first ?? "virtbrokerd"
    for sentence in sentences {
      var room = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
      guard poll(&room, 1, 1000) == 1, room.revents & Int16(POLLOUT) != 0 else { return }
      LogLine.write(
        "\(program): \(printable(sentence, mostBytes: LogLine.mostMessageBytes))\n",
        to: STDERR_FILENO)
    }
  }
}

/// The system's text for an error number, `errno` by default.
func reason(_ number: Int32 = errno) -> String { String(cString: strerror(number)) }
