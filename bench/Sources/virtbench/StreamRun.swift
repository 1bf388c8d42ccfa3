// Bulk streams one way: connections are opened, worked over and timed, and closed.
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
  var kind: TransferKind
  /// Per stream; a run that ends by the clock needs none.
  var bytes: UInt64 = Transfer.endless
  /// How long, if it ends by the clock.
  var seconds: Double?
  /// On each connection.
  var streams = 1
  var connections = 1
  /// Bytes that a packet carries; nil for what libvirt does.
  var message: Int?

  struct Figure: Codable {
    var bytes: UInt64
    var seconds: Double
    var gibPerSecond: Double
    /// Processor seconds of the relay's process per GiB moved; nil if none was named.
    var cpuPerGiB: Double?
  }

  /// The figure of a run right behind one of a quarter of its size, which is not counted: what was measured before,
  /// of another kind or with another peer, leaves other pages to the sockets, and the first to use these may find
  /// that they have been given back to the machine's host. A peer that comes first would pay for that alone.
  func measureWarm(_ place: Place, process: pid_t?) throws -> Figure {
    var first = self
    if let seconds { first.seconds = seconds / 4 } else { first.bytes = max(1, bytes / 4) }
    _ = try first.measure(place, process: nil)
    return try measure(place, process: process)
  }

  /// Times from the calls that open the streams to the last confirmation.
  func measure(
    _ place: Place, process: pid_t?, volume: Volume = Volume(), isChecking: Bool = false
  ) throws -> Figure {
    let clients = try (0..<connections).map { _ in Handed(try Client(to: place)) }
    var transfer = Transfer(kind, bytes: bytes)
    transfer.volume = volume
    transfer.streams = streams
    transfer.message = message
    transfer.isChecking = isChecking
    let clock = try process.map(processorClock)
    let start = now()
    transfer.end = seconds.map { start + UInt64($0 * 1e9) }
    let moved = try inParallel(connections) { [transfer] in try clients[$0].value.move(transfer) }
    let elapsed = Double(now() - start) / 1e9
    let used = try zip(process, clock).map { try processorClock($0).since($1) }
    for client in clients { try client.value.close() }
    let sum = moved.reduce(0, +)
    let gib = Double(sum) / Double(1 << 30)
    return Figure(
      bytes: sum, seconds: elapsed, gibPerSecond: gib / elapsed,
      cpuPerGiB: sum > 0 ? used.map { $0 / gib } : nil)
  }
}

func processorClock(_ process: pid_t) throws -> CPUClock {
  guard let clock = CPUClock(of: process) else {
    throw EndFailure("there is no process \(process)")
  }
  return clock
}

/// Both, or nothing.
func zip<A, B>(_ a: A?, _ b: B?) -> (A, B)? {
  guard let a, let b else { return nil }
  return (a, b)
}
