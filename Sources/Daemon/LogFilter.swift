// libvirt's log_filters: which parts of the program are heard from which level on.
import Broker
import Streams

/// One filter as it is written in the configuration: `N:match`. A part of the program whose name contains
/// `match`, in which `*` and `?` stand for what they always do, is heard from level N on, whatever the
/// level is otherwise.
struct LogFilter: Equatable, Sendable {
  let level: BrokerLog.Level
  /// With the wildcards around it that make it fit any part of a name.
  let pattern: String

  /// Reads filters separated by blanks; none at all means that the level holds everywhere.
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
    // A plus once asked libvirt for the calls that led to a line.
    let match = parts[1].hasPrefix("+") ? parts[1].dropFirst() : parts[1]
    guard !match.isEmpty else { return nil }
    // What libvirt gives back has wildcards around it, and may be given to it again.
    let bare = match.count > 2 && match.hasPrefix("*") && match.hasSuffix("*")
    self.init(level, bare ? match.dropFirst().dropLast() : match)
  }

  /// As libvirt gives it back.
  var text: String { "\(level.rawValue):\(pattern)" }

  func fits(_ source: String) -> Bool { NameList([pattern]).admits(source) }
}
