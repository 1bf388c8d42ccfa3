// Where the broker's log lines go. The daemon decides; the broker only knows which are wanted.

/// A sink for log lines. Messages below the threshold are never built.
public final class BrokerLog {
  /// libvirt's levels, with its numbers.
  public enum Level: Int, Sendable, Comparable {
    case debug = 1
    case info = 2
    case warning = 3
    case error = 4
    public static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }
  }

  public var threshold: Level
  private let write: (Level, String) -> Void

  public init(threshold: Level, write: @escaping (Level, String) -> Void) {
    self.threshold = threshold
    self.write = write
  }

  func debug(_ line: @autoclosure () -> String) { if threshold <= .debug { write(.debug, line()) } }
  func info(_ line: @autoclosure () -> String) { if threshold <= .info { write(.info, line()) } }
  func warning(_ line: @autoclosure () -> String) {
    if threshold <= .warning { write(.warning, line()) }
  }
  func line(_ level: Level, _ line: @autoclosure () -> String) {
    if threshold <= level { write(level, line()) }
  }
}
