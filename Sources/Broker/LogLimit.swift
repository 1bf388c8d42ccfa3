// The limit on repeated log lines: a client that repeats something must not fill the disk.

/// Counts lines by the place in the program that writes them, for each client and for all together, in windows of a few
/// seconds. Lines beyond the limit of a window are counted, and the number is reported when the window is over.
struct LogLimit {
  static let windowSeconds = 5.0
  /// Lines that one place writes about one client in a window.
  static let mostForClient: UInt64 = 20
  /// Lines that one place writes in a window.
  static let mostForPlace: UInt64 = 500
  /// Clients that are counted separately at a time.
  static let mostCounted = 1024

  /// A place in the program, and the client it writes about.
  struct Spot: Hashable {
    fileprivate let file: UInt
    fileprivate let line: UInt
    fileprivate var client: UInt64?
    fileprivate var place: Spot {
      var place = self
      place.client = nil
      return place
    }

    init(_ file: StaticString, _ line: UInt, client: UInt64?) {
      self.file = file.hasPointerRepresentation ? UInt(bitPattern: file.utf8Start) : 0
      self.line = line
      self.client = client
    }
  }

  enum Answer: Equatable {
    /// The line is written, and represents those that may be suppressed.
    case first
    case further
    /// `isNews`: it is the first line of its window that is suppressed.
    case leftOut(isNews: Bool)
  }

  private struct Window {
    let end: Double
    var written: UInt64 = 0
    var leftOut: UInt64 = 0
    var entry: LogEntry?
  }

  private var windows: [Spot: Window] = [:]
  private var nextEnd = Double.infinity

  /// Whether a line may be written now.
  mutating func admit(_ spot: Spot, at now: Double) -> Answer {
    let place = spot.place
    var all = windows[place] ?? Window(end: begin(at: now))
    guard all.written < LogLimit.mostForPlace else {
      all.leftOut &+= 1
      windows[place] = all
      return .leftOut(isNews: all.leftOut == 1)
    }
    if spot != place, windows[spot] != nil || windows.count < LogLimit.mostCounted {
      var own = windows[spot] ?? Window(end: begin(at: now))
      guard own.written < LogLimit.mostForClient else {
        own.leftOut &+= 1
        windows[spot] = own
        return .leftOut(isNews: own.leftOut == 1)
      }
      own.written &+= 1
      windows[spot] = own
    }
    all.written &+= 1
    windows[place] = all
    return all.entry == nil || windows[spot]?.entry == nil ? .first : .further
  }

  private mutating func begin(at now: Double) -> Double {
    let end = now + LogLimit.windowSeconds
    nextEnd = min(nextEnd, end)
    return end
  }

  /// Keeps the line that represents the suppressed ones, of the spot and of its place.
  mutating func keep(_ entry: LogEntry, as spot: Spot) {
    for counted in [spot, spot.place] where windows[counted]?.entry == nil {
      windows[counted]?.entry = entry
    }
  }

  func isReportDue(at now: Double) -> Bool { now >= nextEnd }
  /// Lines have been suppressed and not reported.
  var hasReports: Bool { windows.values.contains { $0.leftOut > 0 } }

  /// The number of lines suppressed in each window that is over at `now`. Removes these windows.
  mutating func takeReports(at now: Double) -> [(entry: LogEntry, count: UInt64)] {
    var reports: [(entry: LogEntry, count: UInt64)] = []
    var next = Double.infinity
    for (spot, window) in windows {
      guard window.end <= now else {
        next = min(next, window.end)
        continue
      }
      windows[spot] = nil
      if window.leftOut > 0, let entry = window.entry { reports.append((entry, window.leftOut)) }
    }
    nextEnd = next
    return reports
  }
}
