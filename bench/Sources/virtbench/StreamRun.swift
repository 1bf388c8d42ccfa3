// Bulk streams in one direction: connections are opened, used, timed and closed.
import ArgumentParser
import Ends
import Foundation
import Gauges

extension Double {
  /// In decimal with this many decimals, for people.
  func rounded(_ places: Int) -> String { String(format: "%.\(places)f", self) }
}

/// Concurrent streams in one direction.
struct StreamRun: Codable, Equatable {
  var kind: TransferKind
  /// Bytes per stream. Not needed with a time limit.
  var bytes: UInt64 = Transfer.endless
  /// The time limit, if there is one.
  var seconds: Double?
  /// Streams on each connection.
  var streams = 1
  var connections = 1
  /// Bytes in a packet; nil means libvirt's own size.
  var message: Int?

  struct Figure: Codable {
    var bytes: UInt64
    var seconds: Double
    var gibPerSecond: Double
    /// Processor seconds of the relay's process per GiB moved; nil without a process.
    var cpuPerGiB: Double?
    /// The most memory that the process had during the run, in bytes; nil if it was not watched.
    var memory: Int?
  }

  /// Measures directly after an uncounted run of a quarter of the size. An earlier run of another kind or with
  /// another peer leaves other pages to the sockets, and their first use may find that they were returned to the
  /// machine's host. Without the first run, only the peer that comes first would pay for that.
  func measureWarm(_ place: Place, process: pid_t?, isWatching: Bool = false) throws -> Figure {
    var first = self
    if let seconds { first.seconds = seconds / 4 } else { first.bytes = max(1, bytes / 4) }
    _ = try first.measure(place, process: nil)
    return try measure(place, process: process, isWatching: isWatching)
  }

  /// Times from the calls that open the streams to the last confirmation. With `isWatching` the memory of the process is
  /// read meanwhile.
  func measure(
    _ place: Place, process: pid_t?, volume: Volume = Volume(), isChecking: Bool = false,
    isWatching: Bool = false
  ) throws -> Figure {
    let clients = try (0..<connections).map { _ in Handed(try Client(to: place)) }
    var transfer = Transfer(kind, bytes: bytes)
    transfer.volume = volume
    transfer.streams = streams
    transfer.message = message
    transfer.isChecking = isChecking
    let sign = StopSign()
    let watcher = try isWatching ? process.map { try Self.watch($0, until: sign) } : nil
    defer { sign.raise() }
    let clock = try process.map(processorClock)
    let start = now()
    transfer.end = seconds.map { start + UInt64($0 * 1e9) }
    let moved = try inParallel(connections) { [transfer] in try clients[$0].value.move(transfer) }
    let elapsed = Double(now() - start) / 1e9
    let used = try zip(process, clock).map { try processorClock($0).since($1) }
    sign.raise()
    let memory = try watcher?.value()
    for client in clients { try client.value.close() }
    let sum = moved.reduce(0, +)
    let gib = Double(sum) / Double(1 << 30)
    return Figure(
      bytes: sum, seconds: elapsed, gibPerSecond: gib / elapsed,
      cpuPerGiB: sum > 0 ? used.map { $0 / gib } : nil, memory: memory)
  }

  /// Reads the memory of a process ten times a second, at least once, and returns the most.
  private static func watch(_ process: pid_t, until sign: StopSign) throws -> Worker<Int> {
    try Worker {
      var most = 0
      repeat {
        usleep(100_000)
        // Pages that several processes share count once.
        most = max(most, Memory(of: process)?.proportional ?? 0)
      } while !sign.isUp
      return most
    }
  }
}

func processorClock(_ process: pid_t) throws -> CPUClock {
  guard let clock = CPUClock(of: process) else {
    throw EndFailure("there is no process \(process)")
  }
  return clock
}

/// Both values, or nil.
func zip<A, B>(_ a: A?, _ b: B?) -> (A, B)? {
  guard let a, let b else { return nil }
  return (a, b)
}
