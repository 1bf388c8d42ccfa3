// virtbench: measures ways to a libvirt daemon beside each other.
public import ArgumentParser
public import Ends

@main
struct Virtbench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtbench",
    abstract: "Measures relays of libvirt's RPC protocol, and the ends they relay between.",
    subcommands: [
      EndpointCommand.self, StreamCommand.self, CallsCommand.self, CompareCommand.self,
      StepsCommand.self,
    ])
}

extension Place: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}
