// virtbench endpoint: the synthetic daemon by itself.
import ArgumentParser
import Ends

struct EndpointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "endpoint",
    abstract: "Serves as a synthetic libvirt daemon on a UNIX socket until it is ended.")

  @Argument(help: "Path of the socket; what was left there is replaced.")
  var path: String

  @Option(help: "Bytes of a download that asks for everything.")
  var volumeBytes: UInt64 = 1 << 30

  @Flag(help: "Compare uploads with what virtbench sends, and fail those that differ.")
  var check = false

  func run() throws {
    try Endpoint(path: path, volumeBytes: volumeBytes, isChecking: check).run()
  }
}
