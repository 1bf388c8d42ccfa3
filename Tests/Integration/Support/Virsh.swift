// The real clients: virsh, and Python programs on libvirt's own bindings.
import Foundation

/// One virsh command line.
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

/// One virsh command line that is expected to succeed; its output.
@discardableResult
func virshOutput(_ uri: String, _ arguments: String...) async throws -> String {
  try await Command(["virsh", "-q", "-c", uri] + arguments).output()
}

/// Runs one of the programs in `python/` with the interpreter Debian's libvirt bindings belong to, and
/// expects it to succeed: it ends with a traceback where it saw something else than it should have. What
/// it printed. `within` are words in front of the command line that put it somewhere else.
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
