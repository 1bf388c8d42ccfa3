// virtbroker: looks at a running broker, and acts on it, by its admin socket.
import ArgumentParser
@preconcurrency import Glibc

@main
struct Tool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtbroker",
    abstract: "Looks at a running virtbrokerd, ends a stream of it, and limits rates.",
    discussion: """
      It talks to the broker's admin socket, which serves only the user that runs the broker. \
      virt-admin does what else there is to administrate: numbers of clients, logging, certificates.
      """,
    subcommands: [
      StatusCommand.self, ClientsCommand.self, StreamsCommand.self, CallsCommand.self,
      TopCommand.self, KillStreamCommand.self, LimitCommand.self,
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

  /// Root's broker has it in /run, anybody else's in the user's runtime directory. Beside a libvirtd it has a
  /// name of its own.
  private static var usualPath: String {
    func variable(_ name: String) -> String? {
      getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    let base =
      geteuid() == 0
      ? "/run" : variable("XDG_RUNTIME_DIR") ?? "\(variable("HOME") ?? "")/.cache"
    let own = "\(base)/libvirt/virtbroker-admin-sock"
    return access(own, F_OK) == 0 ? own : "\(base)/libvirt/libvirt-admin-sock"
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
