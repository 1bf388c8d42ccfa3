// virtbroker: shows and controls a running broker through its admin socket.
import ArgumentParser
@preconcurrency import Glibc
import Streams

@main
struct Tool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtbroker",
    abstract: "Looks at a running virtbrokerd, ends a stream of it, limits rates, and drains it.",
    discussion: """
      It talks to the broker's admin socket, which serves only the user that runs the broker. \
      virt-admin does what else there is to administrate: numbers of clients, logging, certificates.
      """,
    version: "virtbroker (virtbroker) \(ProjectVersion.text)",
    subcommands: [
      StatusCommand.self, ClientsCommand.self, StreamsCommand.self, CallsCommand.self,
      TopCommand.self, KillStreamCommand.self, LimitCommand.self, DrainCommand.self,
    ])
  /// Accepted before and after the subcommand: subcommands see what is read here.
  @OptionGroup var socket: SocketOptions

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as ToolFailure {
      Standard.report(failure.message)
      exit(withError: ExitCode.failure)
    } catch {
      // ArgumentParser writes help to standard output, and puts "Error: " before a mistake in the arguments.
      let text = fullMessage(for: error)
      guard text.hasPrefix(Standard.parserPrefix) else { exit(withError: error) }
      Standard.error("virtbroker: \(text.dropFirst(Standard.parserPrefix.count))")
      exit(withError: exitCode(for: error))
    }
  }
}

/// The options of every command.
struct SocketOptions: ParsableArguments {
  @Option(help: "The admin socket. Default: libvirt-admin-sock where the broker makes it.")
  var socket: String?

  func connect() throws -> Connection {
    if let socket { return try Connection(socket) }
    let places = AdminSockets.ofThisUser()
    do {
      let connection = try Connection(places.usual)
      connection.hint = places.hint
      return connection
    } catch let failure as ToolFailure {
      throw failure.adding(places.hint)
    }
  }
}

/// The options of every command that prints rows.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func show(_ rows: [Row], as table: Table) {
    print(json ? JSON.array(rows) : table.text(rows))
  }
}

/// Why a command failed.
struct ToolFailure: Error {
  private(set) var message: Message

  init(_ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []) {
    message = Message(definition, arguments)
  }

  /// The same failure with advice after it.
  func adding(_ hint: Message?) -> ToolFailure {
    var failure = self
    if let hint { failure.message = Message(joining: [message, hint]) }
    return failure
  }

  /// A mistake in the arguments. ArgumentParser adds the usage and sets the exit status.
  static func usage(
    _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []
  ) -> ValidationError { ValidationError(Message(definition, arguments).line) }
}

enum Standard {
  fileprivate static let parserPrefix = "Error: "

  /// Shows what has been printed before the program waits.
  static func flush() { fflush(stdout) }

  /// Writes a line to standard error.
  static func error(_ line: String) { fputs("\(line)\n", stderr) }

  /// A message with its identifiers.
  static func report(_ message: Message) {
    error("virtbroker: \(message.severity == .warning ? "warning: " : "")\(message.line)")
  }
}
