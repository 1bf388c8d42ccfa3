// virtbench: compares ways to a libvirt daemon.
public import ArgumentParser
public import Ends

@main
struct Virtbench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtbench",
    abstract: "Measures relays of libvirt's RPC protocol, and the ends they relay between.",
    discussion: """
      Every client command works with any libvirt daemon or relay. virtbench endpoint is a daemon \
      that costs next to nothing, to put behind a relay.
      """,
    version: "virtbench (virtbroker) \(EndsVersion.text)\nGnuTLS \(EndsVersion.gnuTLS)",
    subcommands: [
      EndpointCommand.self, StreamCommand.self, CallsCommand.self, ConsoleCommand.self,
      ConnectionsCommand.self, SoakCommand.self, CompareCommand.self, ReportCommand.self,
      StepsCommand.self,
    ])
}

extension Place: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

extension TransferKind: ExpressibleByArgument {
  /// `down` and `up` are short for the two kinds of volume stream.
  public init?(argument: String) {
    switch argument {
    case "down": self = .download
    case "up": self = .upload
    default: self.init(rawValue: argument)
    }
  }
}
