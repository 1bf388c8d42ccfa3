// How much memory a process occupies.
public import Glibc

/// What a process and its children that still live occupy, in bytes.
public struct Memory: Sendable, Codable, Equatable {
  /// Resident, shared pages included.
  public let resident: Int
  /// Resident, of a shared page only the process's part.
  public let proportional: Int

  /// nil if there is no such process or its figures are not for us.
  public init?(of process: pid_t) {
    var sums = ["Rss": 0, "Pss": 0]
    for member in ProcessTree.members(from: process) {
      // A child may end at any moment.
      guard let lines = ProcessTree.lines(of: "/proc/\(member)/smaps_rollup"), !lines.isEmpty
      else {
        if member == process { return nil }
        continue
      }
      for line in lines {
        let words = line.split(whereSeparator: { " :\n".contains($0) })
        guard words.count >= 3, words[2] == "kB", let kibibytes = Int(words[1]) else { continue }
        sums[String(words[0])]? += kibibytes * 1024
      }
    }
    resident = sums["Rss"] ?? 0
    proportional = sums["Pss"] ?? 0
  }
}
