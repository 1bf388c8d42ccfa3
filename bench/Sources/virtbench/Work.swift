// What is measured on every peer, and what is read off each measurement.
import Ends
import Foundation

/// A figure that a measurement gives, and how to write it.
enum Metric: String, Codable, CaseIterable {
  case throughput = "GiB/s"
  case cpuPerGiB = "CPU s/GiB"
  case rate = "calls/s"
  case p50 = "p50 µs"
  case p99 = "p99 µs"
  case cpuPerCall = "CPU µs/call"

  var places: Int {
    switch self {
    case .throughput, .cpuPerCall: 2
    case .cpuPerGiB: 3
    case .rate: 0
    case .p50, .p99: 1
    }
  }
}

/// One kind of load.
enum Work: Equatable {
  case stream(StreamRun)
  case calls(CallRun)

  static func all(bytes: UInt64, seconds: Double) -> [Work] {
    [
      .stream(StreamRun(kind: .download, bytes: bytes, streams: 1)),
      .stream(StreamRun(kind: .upload, bytes: bytes, streams: 1)),
      .stream(StreamRun(kind: .download, bytes: bytes / 4, streams: 4)),
      .calls(CallRun(depth: 1, seconds: seconds)),
      .calls(CallRun(depth: 5, seconds: seconds)),
    ]
  }

  var title: String {
    switch self {
    case .stream(let run):
      "\(run.kind.rawValue), "
        + (run.streams == 1 ? "one stream" : "\(run.streams) streams on one connection")
    case .calls(let run):
      run.depth == 1 ? "calls, one at a time" : "calls, \(run.depth) under way"
    }
  }

  /// The metrics it gives, the one that matters most first.
  var metrics: [Metric] {
    switch self {
    case .stream: [.throughput, .cpuPerGiB]
    case .calls(let run):
      run.depth == 1 ? [.p50, .p99, .rate, .cpuPerCall] : [.rate, .p50, .p99, .cpuPerCall]
    }
  }

  /// The ratios that tell most: this metric, to that peer's.
  var ratios: [(metric: Metric, peer: Peer)] {
    switch self {
    case .stream:
      [
        (.throughput, .limit), (.throughput, .haproxy), (.cpuPerGiB, .limit),
        (.cpuPerGiB, .haproxy),
      ]
    case .calls(let run):
      run.depth == 1
        ? [(.p50, .limit), (.p50, .haproxy)] : [(.rate, .limit), (.rate, .haproxy)]
    }
  }

  func measure(_ place: Place, _ process: pid_t?) throws -> [(Metric, Double)] {
    switch self {
    case .stream(let run):
      let figure = try run.measure(place, process: process)
      return [(.throughput, figure.gibPerSecond)]
        + (figure.cpuPerGiB.map { [(.cpuPerGiB, $0)] } ?? [])
    case .calls(let run):
      let figure = try run.measure(place, process: process)
      return [(.rate, figure.perSecond), (.p50, figure.p50), (.p99, figure.p99)]
        + (figure.cpuPerCall.map { [(.cpuPerCall, $0)] } ?? [])
    }
  }
}
