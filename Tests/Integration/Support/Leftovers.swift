// The last check: finds every process that the tests started, by a mark in its environment, and kills it.
import Foundation
import Glibc

/// Processes that this test process started, directly or indirectly.
enum Leftovers {
  /// The variable that every child inherits and passes on. Its value is the ID of the test process.
  static let mark = "VIRTBROKER_TESTS"

  /// Kills all of them except `spared` and its children. Returns the beginnings of their command lines.
  @discardableResult
  static func end(sparing spared: [pid_t]) -> [String] {
    let ours = Data("\(mark)=\(getpid())\0".utf8)
    var ended: [String] = []
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      guard let pid = pid_t(entry), pid != getpid(), !isBelow(spared, pid),
        let environment = FileManager.default.contents(atPath: "/proc/\(pid)/environ"),
        environment.range(of: ours) != nil, !hasEnded(pid)
      else { continue }
      ended.append(commandLine(pid))
      kill(pid, SIGKILL)
    }
    return ended
  }

  private static func isBelow(_ ancestors: [pid_t], _ pid: pid_t) -> Bool {
    var pid = pid
    while pid > 1 {
      if ancestors.contains(pid) { return true }
      pid = parent(of: pid)
    }
    return false
  }

  private static func parent(of pid: pid_t) -> pid_t { pid_t(status(pid, "PPid:") ?? "") ?? 0 }

  private static func hasEnded(_ pid: pid_t) -> Bool {
    guard let state = status(pid, "State:")?.first else { return true }
    return state == "Z" || state == "X"
  }

  private static func status(_ pid: pid_t, _ field: String) -> Substring? {
    let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    return text.split(separator: "\n").first { $0.hasPrefix(field) }?
      .dropFirst(field.count).drop { $0 == " " || $0 == "\t" }
  }

  private static func commandLine(_ pid: pid_t) -> String {
    let text = (try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)) ?? ""
    return "\(pid) " + text.replacing("\0", with: " ").prefix(200)
  }
}
