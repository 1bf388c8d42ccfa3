// One measurement each: a connection is opened, worked over and timed, and closed.
import ArgumentParser
import Ends
import Foundation
import Gauges

extension Double {
  /// In decimal with so many places, for people.
  func rounded(_ places: Int) -> String { String(format: "%.\(places)f", self) }
}

/// Some streams one way at once.
struct StreamRun: Codable, Equatable {
  enum Direction: String, Codable, ExpressibleByArgument, CaseIterable { case down, up }
  var direction: Direction
  /// Per stream.
  var bytes: UInt64
  var streams: Int

  struct Figure {
    var gibPerSecond: Double
    /// Processor seconds of the relay's process per GiB moved; nil if none was named.
    var cpuPerGiB: Double?
  }

  /// Times from the calls that open the streams to the last confirmation.
  func measure(
    _ place: Place, process: pid_t?, volume: Volume = Volume(), isChecking: Bool = false
  ) throws -> Figure {
    let client = try Client(to: place)
    let clock = try process.map(Self.clock)
    let start = now()
    switch direction {
    case .down:
      try client.download(volume, bytes: bytes, streams: streams, isChecking: isChecking)
    case .up: try client.upload(volume, bytes: bytes, streams: streams)
    }
    let seconds = Double(now() - start) / 1e9
    let gib = Double(bytes) * Double(streams) / Double(1 << 30)
    let used = try zip(process, clock).map { try Self.clock($0).since($1) }
    try client.close()
    return Figure(gibPerSecond: gib / seconds, cpuPerGiB: used.map { $0 / gib })
  }

  static func clock(_ process: pid_t) throws -> CPUClock {
    guard let clock = CPUClock(of: process) else {
      throw EndFailure("there is no process \(process)")
    }
    return clock
  }
}

/// A small call again and again.
struct CallRun: Codable, Equatable {
  /// Calls under way at a time.
  var depth: Int
  var seconds: Double

  /// Times are in microseconds.
  struct Figure {
    var perSecond: Double
    var p50: Double
    var p99: Double
    var cpuPerCall: Double?
  }

  func measure(_ place: Place, process: pid_t?) throws -> Figure {
    let client = try Client(to: place)
    // The first calls find cold caches on every way alike.
    try client.callRepeatedly(depth: depth, seconds: 0.1) { _ in }
    let clock = try process.map(StreamRun.clock)
    var histogram = Histogram()
    let start = now()
    try client.callRepeatedly(depth: depth, seconds: seconds) { histogram.add($0) }
    let elapsed = Double(now() - start) / 1e9
    let used = try zip(process, clock).map { try StreamRun.clock($0).since($1) }
    try client.close()
    let count = Double(histogram.count)
    return Figure(
      perSecond: count / elapsed, p50: Double(histogram.value(at: 0.5)) / 1e3,
      p99: Double(histogram.value(at: 0.99)) / 1e3, cpuPerCall: used.map { $0 * 1e6 / count })
  }
}

/// Both, or nothing.
private func zip<A, B>(_ a: A?, _ b: B?) -> (A, B)? {
  guard let a, let b else { return nil }
  return (a, b)
}
