// A process and its descendants.
import Glibc

/// A relay that forks for each connection is measured with its children.
enum ProcessTree {
  /// The process and its running descendants; the process comes first.
  static func members(from process: pid_t) -> [pid_t] {
    var members = [process]
    var next = 0
    while next < members.count {
      members += children(of: members[next]).filter { !members.contains($0) }
      next += 1
    }
    return members
  }

  private static func children(of process: pid_t) -> [pid_t] {
    guard let tasks = opendir("/proc/\(process)/task") else { return [] }
    defer { closedir(tasks) }
    var children: [pid_t] = []
    while let entry = readdir(tasks) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name.first?.isNumber == true else { continue }
      for line in lines(of: "/proc/\(process)/task/\(name)/children") ?? [] {
        children += line.split(separator: " ").compactMap { pid_t($0) }
      }
    }
    return children
  }

  /// The lines of a file in /proc; nil if it does not exist.
  static func lines(of path: String) -> [String]? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var lines: [String] = []
    var line: UnsafeMutablePointer<CChar>?
    var room = 0
    defer { free(line) }
    while getline(&line, &room, file) > 0, let line { lines.append(String(cString: line)) }
    return lines
  }
}
