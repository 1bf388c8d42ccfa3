// Commands that run to their end.
import Ends
import Foundation

enum Program {
  /// Runs the program and returns its output. If it fails, or runs longer than `patience` seconds, the error contains
  /// its output.
  static func run(_ path: String, _ arguments: [String], patience: Double = 20) throws -> String {
    let log = FileManager.default.temporaryDirectory
      .appendingPathComponent("virtbench.\(getpid()).\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: log) }
    let child = try Child(path, arguments, log: log.path)
    let status = child.wait(seconds: patience)
    child.stop()
    let said = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    let command = ([path] + arguments).joined(separator: " ")
    guard let status else { throw EndFailure("\(command) took longer than \(patience) s. \(said)") }
    guard status == 0 else {
      throw EndFailure("\(command) failed: \(said.trimmingCharacters(in: .whitespacesAndNewlines))")
    }
    return said
  }

  /// The full path of an installed program.
  static func find(_ name: String) -> String? {
    ["/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/", "/sbin/", "/bin/"].lazy
      .compactMap { executable($0 + name) }.first
  }

  static func executable(_ path: String) -> String? {
    FileManager.default.isExecutableFile(atPath: path) ? path : nil
  }
}
