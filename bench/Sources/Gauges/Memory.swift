// The memory of a process.
public import Glibc

/// The memory of a process and its running children, in bytes.
public struct Memory: Sendable, Codable, Equatable {
  /// Resident memory, including shared pages.
  public let resident: Int
  /// Resident memory, with only the process's part of each shared page.
  public let proportional: Int

  /// nil if the process does not exist or its memory may not be read.
  public init?(of process: pid_t) {
    var sums = ["Rss": 0, "Pss": 0]
    for member in ProcessTree.members(from: process) {
      // A child may end at any time.
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
