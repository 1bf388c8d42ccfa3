// libvirt's log_filters: the level at which each part of the program logs.
import Broker
import Streams

/// One filter in the form of the configuration: `N:match`. A part of the program whose name contains `match` logs from
/// level N on, whatever the general level is. `*` and `?` in `match` are wildcards.
struct LogFilter: Equatable, Sendable {
  let level: BrokerLog.Level
  /// The match between two wildcards, so that it matches any part of a name.
  let pattern: String

  /// Reads filters separated by blanks; empty: the general level applies everywhere.
  static func read(_ text: String) throws(StartFailure) -> [LogFilter] {
    var filters: [LogFilter] = []
    for word in text.split(whereSeparator: \.isWhitespace) {
      guard let filter = LogFilter(word) else {
        throw StartFailure(.configuration, .invalidLogFilter, [word])
      }
      filters.append(filter)
    }
    return filters
  }

  init(_ level: BrokerLog.Level, _ match: some StringProtocol) {
    self.level = level
    pattern = "*\(match)*"
  }

  private init?(_ word: Substring) {
    let parts = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let number = Int(parts[0]),
      let level = BrokerLog.Level(rawValue: number)
    else { return nil }
    // In libvirt, `+` once asked for the stack trace of a line.
    let match = parts[1].hasPrefix("+") ? parts[1].dropFirst() : parts[1]
    guard !match.isEmpty else { return nil }
    // What libvirt reports has wildcards at both ends, and an administrator may set that text again.
    let bare = match.count > 2 && match.hasPrefix("*") && match.hasSuffix("*")
    self.init(level, bare ? match.dropFirst().dropLast() : match)
  }

  /// The filter as libvirt reports it.
  var text: String { "\(level.rawValue):\(pattern)" }

  func fits(_ source: String) -> Bool { NameList([pattern]).admits(source) }
}
