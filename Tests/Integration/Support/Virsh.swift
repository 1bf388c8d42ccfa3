// The real clients: virsh, and Python programs with libvirt's bindings.
import Foundation

/// Runs one virsh command.
func virsh(
  _ uri: String, _ arguments: [String], input: String = "", limit: Duration = .seconds(240)
)
  async throws -> CommandResult
{
  var command = Command(["virsh", "-c", uri] + arguments)
  command.input = input
  command.limit = limit
  return try await command.run()
}

/// Runs one virsh command, which must succeed, and returns its output.
@discardableResult
func virshOutput(_ uri: String, _ arguments: String...) async throws -> String {
  try await Command(["virsh", "-q", "-c", uri] + arguments).output()
}

/// Runs a program of `python/` with the interpreter of Debian's libvirt bindings and returns its output. It must
/// succeed: it ends with a traceback at an unexpected result. `within` is a command that runs the command line
/// elsewhere, such as in a namespace.
@discardableResult
func python(
  _ program: String, _ arguments: [String], within words: [String] = [],
  limit: Duration = .seconds(240)
) async throws -> String {
  var command = Command(
    words + ["/usr/bin/python3", "-u", "\(Lab.folder)/python/\(program)"] + arguments)
  command.limit = limit
  command.environment["PYTHONDONTWRITEBYTECODE"] = "1"
  return try await command.output()
}
