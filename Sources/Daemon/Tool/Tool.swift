// virtbroker: looks at a running broker, and acts on it, by its admin socket.
import ArgumentParser
@preconcurrency import Glibc
import Streams

@main
struct Tool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtbroker",
    abstract: "Looks at a running virtbrokerd, ends a stream of it, and limits rates.",
    discussion: """
      It talks to the broker's admin socket, which serves only the user that runs the broker. \
      virt-admin does what else there is to administrate: numbers of clients, logging, certificates.
      """,
    version: "virtbroker (virtbroker) \(ProjectVersion.text)",
    subcommands: [
      StatusCommand.self, ClientsCommand.self, StreamsCommand.self, CallsCommand.self,
      TopCommand.self, KillStreamCommand.self, LimitCommand.self,
    ])
  /// Accepted before the subcommand as well as behind it: what is read here is what subcommands see.
  @OptionGroup var socket: SocketOptions
}

/// What every command takes.
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
    } catch let trouble as Trouble {
      throw Trouble("\(trouble)\(places.hint)")
    }
  }
}

/// What every command that shows something takes.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func show(_ rows: [Row], as table: Table) {
    print(json ? JSON.array(rows) : table.text(rows))
  }
}

/// What went wrong, in one sentence.
struct Trouble: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

enum Standard {
  /// A line on standard error, which is no part of the output.
  static func error(_ line: String) { fputs("\(line)\n", stderr) }
}
