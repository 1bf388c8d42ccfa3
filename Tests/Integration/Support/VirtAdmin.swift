// The real virt-admin, and raw calls of the admin protocol.
import Foundation
import Streams

/// An admin socket: a broker's, or a real libvirtd's.
struct AdminSocket: Sendable {
  let path: String
  /// The name of its main server.
  let server: String

  /// Runs one virt-admin command.
  func run(_ arguments: String...) async throws -> CommandResult {
    try await Command(["virt-admin", "-c", "libvirtd:///system?socket=\(path)"] + arguments).run()
  }

  /// Runs one virt-admin command, which must succeed, and returns its output.
  @discardableResult
  func output(_ arguments: [String]) async throws -> String {
    try await Command(["virt-admin", "-c", "libvirtd:///system?socket=\(path)"] + arguments)
      .output()
  }

  @discardableResult
  func output(_ arguments: String...) async throws -> String { try await output(arguments) }

  /// `name : value` lines, in their order.
  func values(_ arguments: String...) async throws -> [(name: String, value: String)] {
    try await output(arguments).split(separator: "\n").compactMap { line in
      guard let colon = line.firstIndex(of: ":") else { return nil }
      func trimmed(_ text: Substring) -> String { text.trimmingCharacters(in: .whitespaces) }
      return (trimmed(line[..<colon]), trimmed(line[line.index(after: colon)...]))
    }
  }

  /// The cells of a table's rows.
  func rows(_ arguments: String...) async throws -> [[String]] {
    try await output(arguments).split(separator: "\n").dropFirst(2).map {
      $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
    }
  }

  /// A raw client after the opening call.
  func client() throws -> RawClient {
    let client = try RawClient(unix: path)
    let reply = try client.call(.open(flags: 0))
    guard reply.header.status == .ok else { throw Trouble("opening \(path): \(reply)") }
    return client
  }
}

extension RawClient {
  /// Makes one call of the admin interface. The reply may be an error.
  func call(_ call: AdminCall) throws -> RawPacket {
    let header = header(call.procedure, program: Program.admin)
    return try self.call(header, Packets.make(header, arguments: call.arguments))
  }

  /// Makes one call of the broker's own program.
  func call(_ call: BrokerCall) throws -> RawPacket {
    let header = header(call.procedure, program: Program.broker)
    return try self.call(header, Packets.make(header, arguments: call.arguments))
  }
}

extension BrokerProcess {
  var admin: AdminSocket {
    AdminSocket(path: directory + "/libvirt-admin-sock", server: "virtproxyd")
  }
}

extension Lab {
  /// The admin socket of the mono layout's daemon.
  var admin: AdminSocket {
    AdminSocket(path: directory + "/d/libvirtd/run/libvirt/libvirt-admin-sock", server: "libvirtd")
  }
}

/// A connected virsh that waits for commands.
final class IdleShell {
  private let child: Child
  private let input: Pipe

  init(_ uri: String, readOnly: Bool = false) throws {
    input = try Pipe()
    child = try Child(
      ["virsh", readOnly ? "-rc" : "-c", uri], input: input.reader, output: nil, errors: nil)
  }

  deinit { child.end() }
}
