// virtbroker: looks at a running broker, and acts on it, by its admin socket.
import ArgumentParser
@preconcurrency import Glibc

@main
struct Tool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtbroker",
    abstract: "Looks at a running virtbrokerd, and ends a stream of it.",
    discussion: """
      It talks to the broker's admin socket, which serves only the user that runs the broker. \
      virt-admin does what else there is to administrate: limits, logging, certificates.
      """,
    subcommands: [
      StatusCommand.self, ClientsCommand.self, StreamsCommand.self, CallsCommand.self,
      TopCommand.self, KillStreamCommand.self,
    ])
}

/// What every command takes.
struct SocketOptions: ParsableArguments {
  @Option(help: "The admin socket. Default: libvirt-admin-sock where the broker makes it.")
  var socket: String?

  func connect() throws -> Connection {
    let path = socket ?? SocketOptions.usualPath
    return try Connection(path)
  }

  /// Root's broker has it in /run, anybody else's in the user's runtime directory.
  private static var usualPath: String {
    let name = "libvirt/libvirt-admin-sock"
    guard geteuid() != 0 else { return "/run/\(name)" }
    func variable(_ name: String) -> String? {
      getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    return (variable("XDG_RUNTIME_DIR") ?? "\(variable("HOME") ?? "")/.cache") + "/\(name)"
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
